"""Released CLEX checkpoints: their settings and the weights of their ODE (arXiv:2310.16450, DAMO-NLP-SG/CLEX).

Their config.json has `rope_scaling: {type: clex, max_factor, param_factor, act, time_dt}` and `log_scale`, which no
model of transformers supports. Their weight files have `model.clex_layer.proj_func.ode_up_proj` and `.ode_down_proj`
in addition to the model's weights. The rest of such a checkpoint is a plain Llama, Phi or Mixtral.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from transformers import PretrainedConfig

from lcx_lightning.methods.method import Method
from lcx_lightning.methods.overrides import open_values
from lcx_lightning.models.config_file import number
from lcx_lightning.models.weight_files import CLEX_ODE, check_dtype, entries, read_tensor, weight_files
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLEX_TARGET = "lcx_lightning.scaling.CLEX"
UNSET = "lcx_lightning.temperature.Constant"
LOG_SCALE = {"_target_": "lcx_lightning.temperature.LogN", "clamp": False, "per_pass": True}


def separate_clex(config: PretrainedConfig, name: str, revision: str) -> PretrainedConfig:
    """Return `config` with the settings of its CLEX, if it has one, moved from the rotary embedding to `config.clex`.

    Args:
        config: Config of any checkpoint; without a CLEX it is returned unchanged.
        name: Name of the checkpoint on the hub, or a folder; the weights of the ODE are read from there.
        revision: Branch, tag or commit.

    Raises:
        ValueError: If a setting is no number, or the released code does not have the activation.
    """
    vars(config).pop("clex", None)  # of the file, if it has such a key
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "clex":
        return config
    config.clex = {
        "width": number(rope, "param_factor", 1, whole=True),
        "activation": _activation(rope.get("act", "silu")),  # releases before January 2024 write none, and take SiLU
        "max_factor": number(rope, "max_factor", 1, whole=True),
        "log_scale": _log_scale(getattr(config, "log_scale", False)),
        "name": name,
        "revision": revision,
    }
    plain = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    config.rope_parameters = plain | {"rope_type": "default"}
    return config


def with_own_clex(method: DictConfig, config: PretrainedConfig, given: Collection[str] = ()) -> DictConfig:
    """Return the method CLEX with the settings of a released checkpoint; any other method or model changes nothing.

    Width and activation are those of the checkpoint's weights. max_factor is that of the checkpoint, unless the method
    sets a number in place of `${factor}`. A Llama released with `log_scale` gets that temperature, unless the method
    sets another one; the released code of other families does not read it.

    Args:
        method: The four parts, with interpolations still open.
        config: Config of the model, as returned by `separate_clex`.
        given: Names of the values that the user gives.

    Raises:
        ValueError: If `factor` is given, and the checkpoint decides all that would use it.
    """
    own = _own(config)
    if own is None or method.scaling.get("_target_") != CLEX_TARGET:
        return method
    changes: dict[str, Any] = {"scaling": {"width": own["width"], "activation": own["activation"]}}
    if OmegaConf.is_interpolation(method.positions, "max_factor"):
        changes["positions"] = {"max_factor": own["max_factor"]}
    if (
        own["log_scale"]
        and config.model_type == "llama"
        and method.get("temperature", {}).get("_target_", UNSET) == UNSET
    ):
        changes["temperature"] = LOG_SCALE
    merged = OmegaConf.merge(method, changes)
    assert isinstance(merged, DictConfig)
    if "factor" in given and "factor" not in open_values(merged):
        raise ValueError(
            f"This checkpoint is a released CLEX, which was trained up to max_factor={own['max_factor']} and takes the "
            "factor of each text from its length. Leave factor out, or give max_factor=... to set another end."
        )
    return merged


def load_own_clex(method: Method, model: "PreTrainedModel") -> None:
    """Load the ODE weights of a released CLEX checkpoint into a method; without effect on other scalings or models.

    A CLEX that is not trainable keeps its initial weights. The solver takes as many steps as these weights need up to
    the largest factor of the method.

    Raises:
        ValueError: If the settings differ from those of the checkpoint, or its weights are missing, not finite, or too
            strong for the solver.
    """
    own, scaling = _own(model.config), method.scaling
    if own is None:
        return
    from lcx_lightning.methods.scaling.clex import ACTIVATIONS, CLEX

    if not isinstance(scaling, CLEX) or not scaling.up.weight.requires_grad:
        return
    if not isinstance(scaling.activation, ACTIVATIONS[own["activation"]]):
        raise ValueError(
            f"The CLEX of this checkpoint has the activation {own['activation']}, the method {scaling.activation}: "
            "build the method with the settings of the checkpoint, with_own_clex(method, model.config)."
        )
    if model.device.type != "meta":
        scaling.load_released(*read_field(own["name"], own["revision"]))
        scaling.choose_steps(int(getattr(method.positions, "max_factor", own["max_factor"])))


@checked
def grows(grow: bool | None, method: Method, config: PretrainedConfig) -> bool:
    """Return whether the scale factor grows with every token of a generation.

    Args:
        grow: Choice of the user. None: it grows in the CLEX of a released checkpoint, whose code takes the factor of
            the current length in every pass, and in no other method.
        method: Method of the model. If its factor does not depend on the length, nothing grows.
        config: Config of the model, as returned by `separate_clex`.

    Raises:
        ValueError: If the choice is neither true, false nor none.
    """
    if not method.positions.length_dependent:
        return False
    if grow is not None or _own(config) is None:
        return bool(grow)
    from lcx_lightning.methods.scaling.clex import CLEX  # with SciPy: a second, where most models have no CLEX

    return isinstance(method.scaling, CLEX)


def read_field(name: str, revision: str) -> tuple[Tensor, Tensor]:
    """Return `ode_up_proj` [pairs, hidden] and `ode_down_proj` [hidden, pairs] of a checkpoint.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Branch, tag or commit.

    Raises:
        ValueError: If the weight files lack them, or their data type is none of weights.
    """
    stored = [entry for file in weight_files(name, revision) for entry in entries(file) if entry.name in CLEX_ODE]
    found = {entry.name: entry for entry in stored}
    missing = [weight for weight in CLEX_ODE if weight not in found]
    if missing:
        raise ValueError(f"The config of {name} has a CLEX, but its weight files lack {' and '.join(missing)}.")
    for entry in stored:
        check_dtype(entry, name)
    return read_tensor(found[CLEX_ODE[0]]), read_tensor(found[CLEX_ODE[1]])


def _own(config: PretrainedConfig) -> dict[str, Any] | None:
    """Return the settings of a released CLEX, None without one; checked again, as any config.json may have the key."""
    own = getattr(config, "clex", None)
    if own is None:
        return None
    values = own if isinstance(own, dict) else {}
    numbers = {name: number(values, name, 1, whole=True) for name in ("width", "max_factor")}
    activation, log_scale = _activation(values.get("activation")), _log_scale(values.get("log_scale"))
    return values | numbers | {"activation": activation, "log_scale": log_scale}


def _activation(name: Any) -> str:
    from lcx_lightning.methods.scaling.clex import ACTIVATIONS  # with SciPy: a second, where most models have no CLEX

    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"A released CLEX has the activation {' or '.join(ACTIVATIONS)}, this one {name!r}.")
    return name


def _log_scale(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"log_scale in the model's config must be true or false, got {value!r}.")
    return value
