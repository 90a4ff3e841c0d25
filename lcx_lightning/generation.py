"""Generation at one scale factor, that of the longest length, and with the smallest cache that serves the pattern."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from lcx_lightning.cache.smallest import smallest_cache

CHOSEN = ("past_key_values", "cache_implementation")  # by the caller
ASSISTED = ("assistant_model", "assistant_early_exit", "prompt_lookup_num_tokens", "is_assistant")  # takes tokens back


def generate_at_one_factor(
    model: PreTrainedModel, inputs: Tensor | None = None, generation_config: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Call the model's own `generate`, every pass of which has the scale factor of the last one.

    The cache is the smallest one that serves, unless another is asked for, or tokens are to be taken back.
    """
    settings = _settings(model.generation_config, generation_config, kwargs)
    planned = _planned_length(inputs, settings)
    if settings.get("use_cache", True) and all(settings.get(name, False) is False for name in CHOSEN + ASSISTED):
        kwargs["past_key_values"] = smallest_cache(model, held=planned > 0)
    with one_factor(model, planned):
        stock = type(model).generate  # pyright: ignore[reportAttributeAccessIssue]
        return stock(model, inputs, generation_config, *args, **kwargs)


@contextmanager
def one_factor(model: PreTrainedModel, planned: int) -> Iterator[None]:
    """Give every pass of the model the scale factor of a text of `planned` tokens, for as long as this lasts."""
    held = vars(model.base_model)
    before = held.get("planned_length")  # a model that assists itself generates within its generation
    held["planned_length"] = planned
    try:
        yield
    finally:
        held.pop("planned_length")
        held.update({} if before is None else {"planned_length": before})


def _settings(of_model: Any, of_call: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return what a generation goes by: the call's keywords before its configuration before the model's."""
    sources = (vars(of_model), vars(of_call) if of_call else {}, keywords)
    return {name: value for source in sources for name, value in source.items() if value is not None}


def _planned_length(inputs: Tensor | None, settings: dict[str, Any]) -> int:
    """Return the tokens in context at the end of a generation, padding included; 0 if nobody said how many."""
    prompts = (inputs, settings.get("input_ids"), settings.get("inputs_embeds"))
    prompt = max((given.shape[1] for given in prompts if given is not None), default=1)
    if "max_new_tokens" in settings:
        return prompt + settings["max_new_tokens"]
    return settings.get("max_length", 0)
