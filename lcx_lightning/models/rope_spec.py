"""The pretrained rotary embedding of a checkpoint and the native windows of its layers, from its config."""

import copy
from dataclasses import replace

import torch
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.families import family_of

STATIC_SCALINGS = ("linear", "llama3", "yarn")  # scalings of checkpoints whose frequencies do not depend on the length


def rope_spec(config: PretrainedConfig) -> RopeSpec:
    """Return the pretrained rotary embedding of a model, from its config.

    A checkpoint that carries a scaling starts from its scaled frequencies and the length that they support. To start
    from the unscaled ones, pass its config through `without_scaling`.

    Raises:
        ValueError: If the family, its attention or its scaling is not supported.
    """
    family_of(config)
    _check_supported(config)
    rope = config.rope_parameters
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    spec = RopeSpec(
        dim=int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        base=rope["rope_theta"],
        pretrain_length=_supported_length(config),
        window=_native_window(config),
    )
    if _scaling(config) == "default":
        return spec
    inv_freq, feature_scale = ROPE_INIT_FUNCTIONS[_scaling(config)](config, torch.device("cpu"))
    return replace(spec, checkpoint_inv_freq=tuple(inv_freq.tolist()), feature_scale=float(feature_scale))


def without_scaling(config: PretrainedConfig) -> PretrainedConfig:
    """Return the config of a checkpoint without its scaling: unscaled frequencies, and the original length.

    Raises:
        ValueError: If the config does not state the original length.
    """
    family_of(config)
    if _scaling(config) == "default":
        return config
    original = _original_length(config)
    if original is None:
        raise ValueError(
            f"This checkpoint carries the scaling {_scaling(config)!r}, and its config does not state its original "
            "length. Add original_max_position_embeddings to the config, or set own_scaling=true."
        )
    plain = copy.deepcopy(config)
    kept = ("rope_theta", "partial_rotary_factor")
    plain.rope_parameters = {"rope_type": "default"} | {k: v for k, v in config.rope_parameters.items() if k in kept}
    plain.max_position_embeddings = original
    return plain


def _scaling(config: PretrainedConfig) -> str:
    return config.rope_parameters.get("rope_type", "default")


def _original_length(config: PretrainedConfig) -> int | None:
    if _scaling(config) == "dynamic":  # there max_position_embeddings is the length before scaling
        return config.max_position_embeddings
    return config.rope_parameters.get("original_max_position_embeddings")


def _supported_length(config: PretrainedConfig) -> int:
    """Return the context length in tokens that the frequencies of a config support.

    Some checkpoints, such as Qwen2.5 with YaRN, state the original length twice: they support factor times that.
    """
    stated, original = config.max_position_embeddings, config.rope_parameters.get("original_max_position_embeddings")
    factor = config.rope_parameters.get("factor")
    if _scaling(config) == "default" or original is None or factor is None or stated > original:
        return stated
    return round(factor * original)


def _native_window(config: PretrainedConfig) -> int | None:
    """Return the widest native window of all layers in tokens, None if some layer has none.

    A value in a config whose class has no sliding window does not count.
    """
    if not hasattr(type(config), "sliding_window"):
        return None
    if "full_attention" in (getattr(config, "layer_types", None) or ()):
        return None
    return config.sliding_window if getattr(config, "use_sliding_window", True) else None


def layer_windows(config: PretrainedConfig) -> list[int | None]:
    """Return the native window of each layer in tokens, None for a layer without one."""
    kinds = getattr(config, "layer_types", None) or []
    if len(set(kinds)) > 1:
        return [None if kind == "full_attention" else config.sliding_window for kind in kinds]
    return [_native_window(config)] * config.num_hidden_layers


def native_windows(config: PretrainedConfig) -> set[int | None]:
    """Return the distinct native windows of the layers in tokens, None for layers without one."""
    return set(layer_windows(config))


def _check_supported(config: PretrainedConfig) -> None:
    name, rope = config.model_type, config.rope_parameters
    if getattr(config, "use_bidirectional_attention", False):
        raise ValueError(f"This {name} attends in both directions: methods extend causal models only.")
    if getattr(config, "attention_dropout", 0):
        raise ValueError(
            f"This {name} trains with an attention_dropout of {config.attention_dropout}, which methods do not apply. "
            "Load it with attention_dropout=0."
        )
    one_list = _scaling(config) == "longrope" and rope["short_factor"] == rope["long_factor"]
    if not one_list and _scaling(config) not in ("default", *STATIC_SCALINGS):
        raise ValueError(
            f"This checkpoint carries the scaling {_scaling(config)!r}, whose frequencies change with the length of a "
            f"pass. Supported: none, {', '.join(STATIC_SCALINGS)}, and longrope with one list of factors. Set "
            "own_scaling=false to start from its unscaled frequencies and its original length."
        )
