"""Models: where they come from, which families are supported, and how their rotary embedding is read."""

import abc
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lcx_lightning.clex_checkpoint import separate_clex
from lcx_lightning.data.tokens import ByteTokens, HubTokens, Tokens
from lcx_lightning.scaling.base import RopeSpec

FAMILIES = ("gpt_neox", "llama", "mistral", "olmo2", "phi", "qwen2", "qwen3")
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
    def load(self, folder: Path | None) -> PreTrainedModel:
        """Return the model: the pretrained base in `folder`, or the checkpoint itself if there is none."""


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

    def load(self, folder: Path | None) -> PreTrainedModel:
        if folder is None:
            return AutoModelForCausalLM.from_config(self.config())
        return AutoModelForCausalLM.from_pretrained(folder)


class HubModel(ModelSource):
    """A checkpoint of the Hugging Face hub, or a folder in its format.

    Args:
        name: Name on the hub, or a folder.
        revision: Branch, tag or commit.
        dtype: Of the weights: float32, bfloat16 ...
    """

    def __init__(self, *, name: str, revision: str, dtype: str) -> None:
        self.name, self.revision = name, revision
        self.dtype = getattr(torch, dtype)

    def config(self) -> PretrainedConfig:
        config = AutoConfig.from_pretrained(self.name, revision=self.revision)
        return separate_clex(config, self.name, self.revision)

    def tokens(self) -> Tokens:
        return HubTokens(self.name, self.revision)

    def load(self, folder: Path | None) -> PreTrainedModel:
        return AutoModelForCausalLM.from_pretrained(
            folder or self.name, config=self.config(), revision=self.revision, dtype=self.dtype
        )


def skeleton(config: PretrainedConfig) -> PreTrainedModel:
    """Return the model without weights, on the meta device: to see what can be built on it."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def rope_spec(config: PretrainedConfig) -> RopeSpec:
    """Return the pretrained rotary embedding of a model config.

    A checkpoint that carries a scaling of its own starts from the frequencies and the length it now has.

    Raises:
        ValueError: If the family, its native attention window or its scaling is not supported.
    """
    _check_supported(config)
    rope = config.rope_parameters
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    spec = RopeSpec(
        dim=int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        base=rope["rope_theta"],
        pretrain_length=config.max_position_embeddings,
    )
    rope_type = rope.get("rope_type", "default")
    if rope_type == "default":
        return spec
    inv_freq, feature_scale = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"))
    return RopeSpec(spec.dim, spec.base, spec.pretrain_length, tuple(inv_freq.tolist()), float(feature_scale))


def _check_supported(config: PretrainedConfig) -> None:
    name = config.model_type
    if name not in FAMILIES:
        raise ValueError(
            f"Models of type {name!r} are not supported: a method needs one half-split rotary embedding per model, and "
            f"attention through the interface of transformers. Supported: {', '.join(FAMILIES)}."
        )
    window = getattr(config, "sliding_window", None)
    windowed = getattr(config, "use_sliding_window", True) and window is not None
    if windowed or "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise ValueError(
            f"This {name} attends in a native window of {window} tokens, which a method would override. Load it with "
            "sliding_window=null if it was not trained with the window."
        )
    if getattr(config, "attention_dropout", 0):
        raise ValueError(
            f"This {name} trains with an attention_dropout of {config.attention_dropout}, which methods do not apply. "
            "Load it with attention_dropout=0."
        )
    rope_type = config.rope_parameters.get("rope_type", "default")
    if rope_type != "default" and rope_type not in STATIC_SCALINGS:
        raise ValueError(
            f"This checkpoint carries the scaling {rope_type!r}, whose frequencies change with the length. Supported: "
            f"none, {', '.join(STATIC_SCALINGS)}."
        )
