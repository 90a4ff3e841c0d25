"""Model families: those that support methods, how they differ from Llama, and why all others are refused."""

from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING


@dataclass(frozen=True)
class Family:
    """How the implementation of a family in transformers differs from Llama, which has the defaults.

    Native windows and layers without rotary embedding are not listed here: attention modules have them as attributes.
    """

    interleaved: bool = False  # features 2i and 2i + 1 form a pair, not i and i + pairs
    partly_rotated: bool = False  # partial_rotary_factor is read; stock code of the others ignores it
    drops_keywords: bool = False  # layers do not pass unknown keyword arguments on to attention


FAMILIES = {
    "cohere": Family(interleaved=True),
    "gemma": Family(),
    "glm": Family(interleaved=True, partly_rotated=True),
    "gpt_neox": Family(partly_rotated=True),
    "llama": Family(),
    "mistral": Family(),
    "mixtral": Family(),
    "olmo2": Family(),
    "phi": Family(partly_rotated=True),
    "phi3": Family(partly_rotated=True),
    "qwen2": Family(),
    "qwen3": Family(),
    "smollm3": Family(),
    "stablelm": Family(partly_rotated=True, drops_keywords=True),
}


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of a model.

    Raises:
        ValueError: If it is not supported, with the reason.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ValueError(
            f"Models of type {config.model_type!r} are not supported: {_reason(config)}. "
            f"Supported: {', '.join(FAMILIES)}."
        )
    return family


def _reason(config: PretrainedConfig) -> str:
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    rope = getattr(config, "rope_parameters", None) or {}
    if model is None or config.get_text_config() is not config:
        return "they are not plain causal language models"
    if not rope and getattr(config, "rotary_dim", None) is None:
        return "they have no rotary embedding, so there is nothing to extend"
    if getattr(config, "kv_lora_rank", None) is not None:
        return "latent attention rotates a separate part of the key, which all heads share"
    if not model._supports_attention_backend:
        return "their attention does not use the attention interface of transformers, which methods rely on"
    if any(isinstance(value, dict) for value in rope.values()):
        return "they have several rotary embeddings, one for each type of layer, and a method extends only one"
    return "no test compares them with the original model yet"
