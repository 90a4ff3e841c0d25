"""Generation at one scale factor: that of the longest length, so that no key in the cache is of another."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


def generate_at_one_factor(model: PreTrainedModel, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
    """Call the model's own `generate`, every pass of which has the scale factor of the last one."""
    base = model.base_model
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
