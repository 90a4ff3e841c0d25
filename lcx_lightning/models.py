"""Models: where they come from, and how their rotary embedding is read."""

import abc
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lcx_lightning.clex_checkpoint import separate_clex
from lcx_lightning.data.tokens import ByteTokens, HubTokens, Tokens
from lcx_lightning.families import family_of
from lcx_lightning.scaling.base import RopeSpec
from lcx_lightning.shards import load_in_parts

STATIC_SCALINGS = ("linear", "llama3", "yarn")  # of checkpoints that carry one: frequencies that no length changes


class ModelSource(abc.ABC):
    """A model that can be described before it is loaded."""

    @abc.abstractmethod
    def config(self) -> PretrainedConfig:
        """Return the model's config, without loading weights."""

    @abc.abstractmethod
    def tokens(self) -> Tokens:
        """Return the model's tokenizer."""

    @abc.abstractmethod
    def load(self, folder: Path | None, ranks: int = 1) -> PreTrainedModel:
        """Return the model: the pretrained base in `folder`, or the checkpoint itself if there is none.

        If `ranks` processes that are to share it call this together, each may read its part alone: see `shards`.
        """


class EmbeddedModel(ModelSource):
    """A small byte-level model that is pretrained here, in minutes.

    Args:
        architecture: Arguments of the transformers config, `model_type` among them.
    """

    def __init__(self, *, architecture: dict[str, Any]) -> None:
        self.architecture = dict(architecture)

    def config(self) -> PretrainedConfig:
        return AutoConfig.for_model(**self.architecture)

    def tokens(self) -> Tokens:
        return ByteTokens()

    def load(self, folder: Path | None, ranks: int = 1) -> PreTrainedModel:
        if folder is None:
            return AutoModelForCausalLM.from_config(self.config())
        return AutoModelForCausalLM.from_pretrained(folder)


class HubModel(ModelSource):
    """A checkpoint of the Hugging Face hub, or a folder in its format.

    Args:
        name: Name on the hub, or a folder.
        revision: Branch, tag or commit.
        dtype: Of the weights: float32, bfloat16 ...
        own_scaling: Of a checkpoint that carries a scaling, as Llama-3.1. True: it starts from its own frequencies and
            the length they reach. False: from the unscaled frequencies and its original length.
    """

    def __init__(self, *, name: str, revision: str, dtype: str, own_scaling: bool) -> None:
        self.name, self.revision, self.own_scaling = name, revision, own_scaling
        self.dtype = getattr(torch, dtype)

    def config(self) -> PretrainedConfig:
        config = AutoConfig.from_pretrained(self.name, revision=self.revision)
        config = separate_clex(config, self.name, self.revision)
        return config if self.own_scaling else without_scaling(config)

    def tokens(self) -> Tokens:
        return HubTokens(self.name, self.revision)

    def load(self, folder: Path | None, ranks: int = 1) -> PreTrainedModel:
        config = self.config()
        given = {"config": config, "revision": self.revision} if folder is None else {}
        name = folder or self.name
        if ranks == 1 or hasattr(config, "clex"):  # whose own field is read beside the model
            return AutoModelForCausalLM.from_pretrained(name, dtype=self.dtype, **given)
        return load_in_parts(name, ranks, dtype=self.dtype, **given)


def skeleton(config: PretrainedConfig) -> PreTrainedModel:
    """Return the model without weights, on the meta device: to see what can be built on it."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def check_tokens(tokens: Tokens, config: PretrainedConfig) -> None:
    """Raise a ValueError if a tokenizer is not that of a model: it has ids that the model lacks, or another BOS."""
    if tokens.vocab_size > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {tokens.vocab_size:,} ids, and the model embeds {config.vocab_size:,}: it is another "
            "model's, or tokens were added to it. Put the model's own tokenizer beside its weights."
        )
    own, expected = getattr(tokens, "own_bos", tokens.bos), config.bos_token_id
    if own is not None and expected is not None and own != expected:
        raise ValueError(
            f"The tokenizer's BOS token has the id {own}, and the model's config says bos_token_id={expected}: every "
            "row and window starts with it. Put the model's own tokenizer beside its weights, or correct the config."
        )


def rope_spec(config: PretrainedConfig) -> RopeSpec:
    """Return the pretrained rotary embedding of a model config.

    A checkpoint that carries a scaling starts from its own frequencies and the length they reach; `without_scaling`
    gives the config of the other choice.

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
        pretrain_length=_reach(config),
        window=_native_window(config),
    )
    if _scaling(config) == "default":
        return spec
    inv_freq, feature_scale = ROPE_INIT_FUNCTIONS[_scaling(config)](config, torch.device("cpu"))
    return replace(spec, own_inv_freq=tuple(inv_freq.tolist()), feature_scale=float(feature_scale))


def without_scaling(config: PretrainedConfig) -> PretrainedConfig:
    """Return the config of a checkpoint as it was before it was scaled: plain frequencies, and the original length.

    Raises:
        ValueError: If the config does not say the original length.
    """
    family_of(config)
    if _scaling(config) == "default":
        return config
    original = _original_length(config)
    if original is None:
        raise ValueError(
            f"This checkpoint carries the scaling {_scaling(config)!r}, and its config does not say how long its "
            "original context was. Add original_max_position_embeddings to it, or set own_scaling=true."
        )
    plain = copy.deepcopy(config)
    kept = ("rope_theta", "partial_rotary_factor")
    plain.rope_parameters = {"rope_type": "default"} | {k: v for k, v in config.rope_parameters.items() if k in kept}
    plain.max_position_embeddings = original
    return plain


def _scaling(config: PretrainedConfig) -> str:
    return config.rope_parameters.get("rope_type", "default")


def _original_length(config: PretrainedConfig) -> int | None:
    if _scaling(config) == "dynamic":  # scales from max_position_embeddings on
        return config.max_position_embeddings
    return config.rope_parameters.get("original_max_position_embeddings")


def _reach(config: PretrainedConfig) -> int:
    """Return the tokens that the frequencies of a config reach.

    Some checkpoints, as Qwen2.5 with YaRN, state the original length twice: what they reach is factor times that.
    """
    stated, original = config.max_position_embeddings, config.rope_parameters.get("original_max_position_embeddings")
    factor = config.rope_parameters.get("factor")
    if _scaling(config) == "default" or original is None or factor is None or stated > original:
        return stated
    return round(factor * original)


def _native_window(config: PretrainedConfig) -> int | None:
    """Return the tokens that the layer with the widest view sees, None for all. A stray value in a config is none."""
    if not hasattr(type(config), "sliding_window"):
        return None
    if "full_attention" in (getattr(config, "layer_types", None) or ()):
        return None
    return config.sliding_window if getattr(config, "use_sliding_window", True) else None


def layer_windows(config: PretrainedConfig) -> list[int | None]:
    """Return the tokens that each layer sees natively, None for all."""
    kinds = getattr(config, "layer_types", None) or []
    if len(set(kinds)) > 1:
        return [None if kind == "full_attention" else config.sliding_window for kind in kinds]
    return [_native_window(config)] * config.num_hidden_layers


def native_windows(config: PretrainedConfig) -> set[int | None]:
    """Return the tokens that layers of each kind see natively, None for all."""
    return set(layer_windows(config))


def _check_supported(config: PretrainedConfig) -> None:
    name, rope = config.model_type, config.rope_parameters
    if getattr(config, "use_bidirectional_attention", False):
        raise ValueError(f"This {name} attends in both directions: methods extend causal models.")
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
