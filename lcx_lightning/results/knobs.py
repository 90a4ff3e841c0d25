"""What an arm was turned to: one flat mapping from its run.json, for columns, filters and groups of W&B and pandas."""

from collections.abc import Mapping
from typing import Any

from lcx_lightning.results.naming import part_name, settings
from lcx_lightning.schema.build import TARGET, build
from lcx_lightning.schema.checked import SettingError

Flat = dict[str, Any]


def knobs(info: Mapping[str, Any]) -> Flat:
    """What run.json says of an arm, one value a column; None where the arm does not have it.

    Values of the method are those after interpolation, lengths are in tokens, factors in units of L. `matrix_lr` and
    `method_lr` are learning rates of their own that an optimizer has for matrices and for the method.

    Args:
        info: Contents of run.json, at any time after the arm was planned.
    """
    config = info.get("config") or {}
    return (
        _of_arm(info, config)
        | _of_method(config.get("method") or {})
        | _of_training(config.get("training") or {})
        | _of_origin(info, config)
    )


def _of_arm(info: Mapping[str, Any], config: Mapping[str, Any]) -> Flat:
    names = ("arm", "method", "factor", "seed", "pretrain_length", "train_length")
    trained = bool(config.get("training"))
    return {name: info.get(name) for name in names} | {
        "recipe": config.get("recipe"),
        "max_context": info.get("max_context"),
        "trained": trained,
        "train_factor": config["training"].get("length_factor") if trained else None,
        "parameters": info.get("parameters"),
        "trained_parameters": info.get("trained_parameters"),
    }


def _of_method(method: Mapping[str, Any]) -> Flat:
    scaling, positions, pattern = (method.get(part) or {} for part in ("scaling", "positions", "pattern"))
    numbers = {
        "window": (pattern, "window"),
        "sink_tokens": (pattern, "sink_tokens"),
        "distance_limit": (pattern, "distance_limit"),
        "group_size": (pattern, "group"),
        "max_factor": (positions, "max_factor"),
        "top_k": (pattern, "middle_tokens"),
        "ode_width": (scaling, "width"),
        "ode_steps": (scaling, "steps"),
        "ode_solver": (scaling, "solver"),
        "alpha_slope": (scaling, "alpha_slope"),
    }
    found = {name: _computed(part.get(key)) for name, (part, key) in numbers.items()}
    classes = {name: _class_name(method.get(name)) for name in ("scaling", "positions", "pattern", "temperature")}
    return found | classes | {"ode_activation": _class_name(scaling.get("activation"))}


def _of_training(training: Mapping[str, Any]) -> Flat:
    optimizer = training.get("optimizer") or {}
    rates = {name: optimizer.get(name) for name in ("lr", "matrix_lr", "method_lr")}
    return rates | {name: training.get(name) for name in ("steps", "rows")}


def _of_origin(info: Mapping[str, Any], config: Mapping[str, Any]) -> Flat:
    computed_by = info.get("computed_by") or [{}]
    return {
        "model": settings(info).get("model"),
        "data": part_name((config.get("data") or {}).get("corpus")),
        "corpus": info.get("corpus"),
        "experiment": info.get("experiment"),
        "run": info.get("run"),
        "base": (info.get("base") or {}).get("key"),
        "fingerprint": info.get("fingerprint"),
        "git_commit": computed_by[-1].get("git_commit"),
    }


def _computed(value: Any) -> Any:
    """A value of a method's part; one that a function makes of others, such as a share of L, is made."""
    if not isinstance(value, Mapping):
        return value
    try:
        return build(value, "method")
    except SettingError:  # the code of today has no such function
        return None


def _class_name(value: Any) -> str | None:
    """The name of a class, or the word that stands for one; None if there is none."""
    named = value.get(TARGET) if isinstance(value, Mapping) else value
    return str(named).rpartition(".")[2] if named else None
