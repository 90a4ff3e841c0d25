"""Generation at one scale factor, that of the longest length, and with the smallest cache that serves the pattern."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lcx_lightning.models.attached import attached
from lcx_lightning.models.cache.choose import smallest_cache

CHOSEN = ("past_key_values", "cache_implementation")  # by the caller
ASSISTED = ("assistant_model", "assistant_early_exit", "prompt_lookup_num_tokens", "is_assistant")  # takes tokens back
PLAIN = {  # what else a model's generation config may ask for
    "do_sample": False,
    "num_beams": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}


def generate(
    model: PreTrainedModel, inputs: Tensor | None = None, generation_config: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Call the model's own `generate`, every pass of which has the scale factor of the last one unless it may grow.

    The cache is the smallest one that serves, unless another is asked for, or tokens are to be taken back.

    Raises:
        ValueError: If ranks share the texts of the model.
    """
    own, stock = attached(model), type(model).generate  # pyright: ignore[reportAttributeAccessIssue]
    if own.mesh is not None:
        raise ValueError("A model whose texts are split over ranks does not generate: load it on each rank for itself.")
    if own.grow:
        return stock(model, inputs, generation_config, *args, **kwargs)
    settings = _settings(model.generation_config, generation_config, kwargs)
    planned = _planned_length(inputs, settings)
    if settings.get("use_cache", True) and all(settings.get(name, False) is False for name in CHOSEN + ASSISTED):
        kwargs["past_key_values"] = smallest_cache(model, held=planned > 0)
    with one_factor(model, planned):
        return stock(model, inputs, generation_config, *args, **kwargs)


@contextmanager
def one_factor(model: PreTrainedModel, planned: int) -> Iterator[None]:
    """Give every pass of the model the scale factor of a text of `planned` tokens, for as long as this lasts."""
    own = attached(model)
    before, own.planned_length = own.planned_length, planned  # a model that assists itself generates within this
    try:
        yield
    finally:
        own.planned_length = before


@torch.inference_mode()
def continuations(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    *,
    chunk: int,
    ends: Collection[int] = (),
    sampling: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[list[int]]:
    """Return the tokens with which a model goes on after each prompt, up to the first that ends a text, that left out.

    What a model's own generation config says of sampling and penalties is not used.

    Args:
        model: With its method attached.
        prompts: Token ids, BOS included. Shorter ones are padded on the left: a row does not depend on the others.
        new_tokens: At most.
        chunk: Tokens of a prompt that are read at once.
        ends: Tokens that end a text, once it has one, beside those that end the model's texts.
        sampling: Scores of the next token from the ids and the scores; None takes the most probable token.
    """
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt) :] = torch.tensor(prompt)
    mask = (torch.arange(longest) >= longest - torch.tensor([[len(prompt)] for prompt in prompts])).long()
    own: Any = model.generation_config.eos_token_id
    all_ends: list[int] = sorted({*([own] if isinstance(own, int) else own or []), *ends})
    out: Any = model.generate(  # pyright: ignore[reportCallIssue]
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=new_tokens,
        min_new_tokens=1 if ends else None,
        prefill_chunk_size=chunk if longest > chunk else None,
        eos_token_id=all_ends or None,
        pad_token_id=all_ends[0] if all_ends else 0,
        logits_processor=[sampling] if sampling else None,
        **PLAIN,
    )
    return [_until(row, all_ends) for row in out[:, longest:].tolist()]


def _until(ids: list[int], ends: Collection[int]) -> list[int]:
    """Return the ids before the first of `ends`."""
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


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
