"""Model families: which ones take a method, what sets one apart from Llama, and why every other is refused."""

from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING


@dataclass(frozen=True)
class Family:
    """What a method must know about how transformers writes a family. The defaults are Llama.

    Native windows and layers without rotary embedding are not here: every attention module tells its own.
    """

    interleaved: bool = False  # features 2i and 2i + 1 turn together, not i and i + pairs
    drops_keywords: bool = False  # its layers hand no unknown keyword on to attention


FAMILIES = {
    "cohere": Family(interleaved=True),
    "gemma": Family(),
    "glm": Family(interleaved=True),
    "gpt_neox": Family(),
    "llama": Family(),
    "mistral": Family(),
    "mixtral": Family(),
    "olmo2": Family(),
    "phi": Family(),
    "phi3": Family(),
    "qwen2": Family(),
    "qwen3": Family(),
    "smollm3": Family(),
    "stablelm": Family(drops_keywords=True),
}


def family_of(config: PretrainedConfig) -> Family:
    """Return what is special about the family of a model.

    Raises:
        ValueError: If it is not supported; the reason is read from the config.
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
        return "they are no plain causal language models"
    if not rope and getattr(config, "rotary_dim", None) is None:
        return "they have no rotary embedding, so there is nothing to extend"
    if getattr(config, "kv_lora_rank", None) is not None:
        return "latent attention rotates a part of the key that all heads share, apart from the rest"
    if not model._supports_attention_backend:
        return "their attention does not go through the attention interface of transformers, where a method works"
    if any(isinstance(value, dict) for value in rope.values()):
        return "they have several rotary embeddings, one for each type of layer, and a method extends one"
    return "no test compares them with the stock model yet"
