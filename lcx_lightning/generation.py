"""Generation at one scale factor, that of the longest length, and with the smallest cache that serves the pattern."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from lcx_lightning.cache import smallest_cache

CHOSEN = ("past_key_values", "cache_implementation", "assistant_model", "prompt_lookup_num_tokens")


def generate_at_one_factor(model: PreTrainedModel, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
    """Call the model's own `generate`, every pass of which has the scale factor of the last one.

    The cache is the smallest one that serves, unless another is asked for, or tokens are to be taken back.
    """
    base = model.base_model
    settings = vars(kwargs.get("generation_config") or (args[0] if args else None) or model.generation_config) | kwargs
    if settings.get("use_cache", True) and not any(settings.get(name) is not None for name in CHOSEN):
        kwargs["past_key_values"] = smallest_cache(model)
    vars(base)["planned_length"] = _planned_length(model, inputs, *args, **kwargs)
    try:
        return type(model).generate(model, inputs, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        del vars(base)["planned_length"]


def _planned_length(
    model: PreTrainedModel, inputs: Tensor | None = None, generation_config: Any = None, *_: Any, **kwargs: Any
) -> int:
    """Return the tokens in context at the end of a generation, padding included; 0 if nobody said how many."""
    prompts = (inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
    prompt = max((given.shape[1] for given in prompts if given is not None), default=1)
    settings = vars(generation_config or model.generation_config) | kwargs
    if settings.get("max_new_tokens") is not None:
        return prompt + settings["max_new_tokens"]
    return settings.get("max_length") or 0
