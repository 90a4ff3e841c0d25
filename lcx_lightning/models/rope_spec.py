"""The pretrained rotary embedding of a checkpoint and the native windows of its layers, from its config."""

import copy
from dataclasses import replace
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lcx_lightning.methods.longrope_file import MSCALES
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.config_checks import check_config
from lcx_lightning.models.config_file import place_of
from lcx_lightning.models.families import family_of
from lcx_lightning.schema.files import naming

DUAL_CHUNK = "dual_chunk_attention_config"
STATIC_SCALINGS = ("linear", "llama3", "yarn")  # scalings of checkpoints whose frequencies do not depend on the length


def rope_spec(config: PretrainedConfig) -> RopeSpec:
    """Return the pretrained rotary embedding of a model, from its config.

    A checkpoint that carries a scaling starts from its scaled frequencies and the length that they support. To start
    from the unscaled ones, pass its config through `without_scaling`.

    Raises:
        ValueError: If the family, its attention or its scaling is not supported, or a number makes no sense.
    """
    with naming(place_of(config.name_or_path)):
        return _rope_spec(config)


def _rope_spec(config: PretrainedConfig) -> RopeSpec:
    family_of(config)
    check_config(config.to_dict())
    rope, dim = config.rope_parameters, _rotated_features(config)
    _check_supported(config)
    spec = RopeSpec(
        dim=dim,
        base=rope["rope_theta"],
        pretrain_length=_length_and_source(config)[0],
        window=_native_window(config),
    )
    if _scaling(config) == "default":
        return spec
    inv_freq, feature_scale = ROPE_INIT_FUNCTIONS[_scaling(config)](config, torch.device("cpu"))
    return replace(spec, checkpoint_inv_freq=tuple(inv_freq.tolist()), feature_scale=float(feature_scale))


def length_source(config: PretrainedConfig) -> str:
    """Return a sentence that says the pretraining length L of a model, and where in its config that comes from."""
    length, source = _length_and_source(config)
    return f"L = {length:,} tokens: {source}."


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
            "length, or not another than the one it reaches. Add original_max_position_embeddings to the config, or "
            "set own_scaling=true."
        )
    plain = copy.deepcopy(config)
    kept = ("rope_theta", "partial_rotary_factor")
    plain.rope_parameters = {"rope_type": "default"} | {k: v for k, v in config.rope_parameters.items() if k in kept}
    plain.max_position_embeddings = original
    plain.dropped_scaling = _scaling(config)
    return plain


def _rotated_features(config: PretrainedConfig) -> int:
    """Return the number of rotated features per head.

    Raises:
        ValueError: If they cannot be divided into pairs, or the lists of a scaling have another number of pairs.
    """
    rope, head_dim = config.rope_parameters, getattr(config, "head_dim", None)
    head_dim = head_dim or config.hidden_size // config.num_attention_heads
    part = rope.get("partial_rotary_factor", 1.0)
    if part != 1 and not family_of(config).partly_rotated:
        raise ValueError(
            f"partial_rotary_factor={part:g} in the model's config has no meaning for models of type "
            f"{config.model_type}, which rotate the whole head: take it away."
        )
    dim = int(head_dim * part)
    if dim < 2 or dim % 2:
        raise ValueError(
            f"The rotated features of a head must be an even number, but the model's config says {dim}: head_dim="
            f"{head_dim}, partial_rotary_factor={part:g}."
        )
    for name in ("short_factor", "long_factor"):
        if name in rope and len(rope[name]) != dim // 2:
            raise ValueError(
                f"{name} in the model's config must have one number for each of the {dim // 2} pairs, got "
                f"{len(rope[name])}."
            )
    return dim


def _scaling(config: PretrainedConfig) -> str:
    return config.rope_parameters.get("rope_type", "default")


def _original_length(config: PretrainedConfig) -> int | None:
    """Return the context length in tokens before scaling, None if the config does not state it."""
    kind, length = _scaling(config), config.max_position_embeddings
    stated = config.rope_parameters.get("original_max_position_embeddings")
    if kind == "dynamic":  # there max_position_embeddings is the length before scaling
        return stated or length
    if kind == "llama3" and stated == length:  # transformers fills in one that is not stated
        return None
    reached = getattr(config, "max_sequence_length", None) or 0
    if stated is None and kind == "linear" and reached >= length:  # vicuna-7b-v1.5-16k; below, it is an old one
        return round(reached / config.rope_parameters["factor"])
    return stated


def _length_and_source(config: PretrainedConfig) -> tuple[int, str]:
    """Return the context length in tokens that the frequencies of a config support, and what says so.

    The lengths in a config may disagree: Qwen2.5 and Qwen3 with YaRN, or Yarn-Mistral, support factor times the
    original length, which is above max_position_embeddings.
    """
    stated, rope, said = config.max_position_embeddings, config.rope_parameters, _said(config)
    factor, original = rope.get("factor"), rope.get("original_max_position_embeddings")
    if dual := getattr(config, DUAL_CHUNK, None):
        return _dual_chunk_length(dual, stated, _scaling(config))
    if _scaling(config) == "default":
        dropped = getattr(config, "dropped_scaling", None)
        return stated, f"original length of the checkpoint, whose scaling {dropped!r} is left out" if dropped else said
    if _scaling(config) == "linear" and original is None:
        return _linear_length(config)
    if original is None or factor is None:
        return stated, said
    if _scaling(config) == "llama3":  # its factor is no ratio of lengths: Llama-3.2 states 32
        ratio = f"{stated / original:g} x original {original:,}" if stated > original else "whatever the factor says"
        return stated, f"{said}, {ratio}"
    if factor * original > stated:
        scaled = round(factor * original)
        return scaled, f"factor {factor:g} x original {original:,} (max_position_embeddings says {stated:,})"
    return stated, f"{said} (factor {factor:g} x original {original:,} is {round(factor * original):,})"


def _said(config: PretrainedConfig) -> str:
    """Return where the stated length comes from."""
    if assumed := getattr(config, "assumed_length", None):
        return f"default of {assumed}, as the config.json states no max_position_embeddings"
    return "max_position_embeddings of the config"


def _dual_chunk_length(dual: Any, stated: int, kind: str) -> tuple[int, str]:
    """Return the context length of a model whose authors use an attention of chunks beyond it, as Qwen2.5-1M."""
    original = dual.get("original_max_position_embeddings") if isinstance(dual, dict) else None
    if kind != "default" or type(original) is not int or original < 1:
        raise ValueError(
            f"The model's config has {DUAL_CHUNK}, an attention that transformers has not. Its length without that is "
            f"known from original_max_position_embeddings there, without a scaling; got {dual!r} and scaling {kind!r}. "
            f"Take {DUAL_CHUNK} away, and state the true length in max_position_embeddings."
        )
    return original, (
        f"original_max_position_embeddings of {DUAL_CHUNK}; max_position_embeddings says {stated:,}, with an attention "
        "that transformers has not"
    )


def _linear_length(config: PretrainedConfig) -> tuple[int, str]:
    """Return the context length of a linear scaling whose original length is not stated, and what says so."""
    stated, reached = config.max_position_embeddings, getattr(config, "max_sequence_length", None) or 0
    if reached > stated:
        return reached, f"max_sequence_length of the config (max_position_embeddings says {stated:,})"
    return stated, (
        f"{_said(config)}, assumed to be the length that its linear scaling reaches. If it is the "
        "original length, add original_max_position_embeddings to the scaling"
    )


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
    if any(rope.get(key) is not None for key in MSCALES):
        raise ValueError(
            f"This checkpoint has a temperature for each of its lists, {' and '.join(MSCALES)}, which is not "
            "supported. Set own_scaling=false to start from its unscaled frequencies and its original length."
        )
    kind = _scaling(config)
    if kind in ("default", *STATIC_SCALINGS) or (kind == "longrope" and rope["short_factor"] == rope["long_factor"]):
        return
    supported = f"Supported: none, {', '.join(STATIC_SCALINGS)}, and longrope with one list of factors"
    if kind not in ("dynamic", "longrope"):
        raise ValueError(f"The scaling of this checkpoint, rope_type={kind!r}, is not supported. {supported}.")
    lists = " Method longrope with method.scaling.file=CONFIG.JSON then takes its lists." if kind == "longrope" else ""
    raise ValueError(
        f"This checkpoint carries the scaling {kind!r}, whose frequencies change with the length of a pass. {supported}"
        f". Set own_scaling=false to start from its unscaled frequencies and its original length.{lists}"
    )
