"""Generation at a single scale factor, that of the planned length, and with the smallest exact cache."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from lcx_lightning.models.attached import attached, has_method
from lcx_lightning.models.cache.choose import smallest_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE_ARGUMENTS = ("past_key_values", "cache_implementation")  # the caller chooses the cache
ASSISTED = (
    "assistant_model",
    "assistant_early_exit",
    "prompt_lookup_num_tokens",
    "is_assistant",
)  # removes tokens again


def generate(
    model: "PreTrainedModel", inputs: Tensor | None = None, generation_config: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Return the result of the model's own `generate`, with the scale factor of the final length unless it may grow.

    The cache is the smallest exact one, unless the caller chooses another, or generation is assisted.

    Raises:
        ValueError: If several ranks share the texts of the model.
    """
    own_generate = type(model).generate  # pyright: ignore[reportAttributeAccessIssue]
    if not has_method(model):  # detached in a shallow copy, which shares its layers
        return own_generate(model, inputs, generation_config, *args, **kwargs)
    attachment = attached(model)
    if attachment.mesh is not None:
        raise ValueError(
            "A model whose texts are split over ranks cannot generate: load the whole model on every rank instead."
        )
    settings = _settings(model.generation_config, generation_config, kwargs)
    planned = _planned_length(inputs, settings)
    if settings.get("use_cache", True) and all(
        settings.get(name, False) is False for name in CACHE_ARGUMENTS + ASSISTED
    ):
        kwargs["past_key_values"] = smallest_cache(model, fixed_factor=planned > 0)
    with one_factor(model, planned):
        return own_generate(model, inputs, generation_config, *args, **kwargs)


@contextmanager
def one_factor(model: "PreTrainedModel", planned: int) -> Iterator[None]:
    """Let every pass inside this context have the scale factor of a text of `planned` tokens; 0: of its own length.

    If the factor of the model grows, every pass has that of its own length.
    """
    attachment = attached(model)
    before = attachment.planned_length  # contexts nest if a model assists itself
    attachment.planned_length = 0 if attachment.grow else planned
    try:
        yield
    finally:
        attachment.planned_length = before


@torch.inference_mode()
def continuations(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    *,
    chunk: int,
    ends: Collection[int] = (),
    sampling: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[list[int]]:
    """Return the tokens that a model generates after each prompt, up to but without the first end token.

    Of the model's generation config only the end tokens count: it may suppress tokens, penalise, bias and sample.

    Args:
        model: Model with its method attached.
        prompts: Token ids of each prompt, BOS included. Shorter prompts are padded on the left; a row does not depend
            on the others.
        new_tokens: Largest number of new tokens.
        chunk: Number of prompt tokens that are read at once.
        ends: End tokens in addition to the model's own. If given, at least one token is generated.
        sampling: Function that returns new scores of the next token, from the ids and its scores. None chooses the
            most probable token.
    """
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt) :] = torch.tensor(prompt)
    mask = (torch.arange(longest) >= longest - torch.tensor([[len(prompt)] for prompt in prompts])).long()
    all_ends = sorted({*_end_tokens(model), *ends})
    with _own_settings(model, GenerationConfig()):  # or what the call leaves open would be the model's
        out: Any = model.generate(  # pyright: ignore[reportCallIssue]
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=new_tokens,
            min_new_tokens=1 if ends else None,
            prefill_chunk_size=chunk if longest > chunk else None,
            eos_token_id=all_ends or None,
            pad_token_id=all_ends[0] if all_ends else 0,
            logits_processor=[sampling] if sampling else None,
            do_sample=False,
        )
    return [_until(row, all_ends) for row in out[:, longest:].tolist()]


@contextmanager
def _own_settings(model: "PreTrainedModel", settings: GenerationConfig) -> Iterator[None]:
    """Give a model another generation config inside this context."""
    before = model.generation_config
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = before


def _end_tokens(model: "PreTrainedModel") -> list[int]:
    """Return the end tokens that a model states itself."""
    own: Any = model.generation_config.eos_token_id
    ends = own if isinstance(own, list) else [own] * (own is not None)
    if not all(type(end) is int for end in ends):
        raise ValueError(f"eos_token_id in the generation config must be one id or a list of ids, got {own!r}.")
    return ends


def _until(ids: list[int], ends: Collection[int]) -> list[int]:
    """Return the ids before the first one that is in `ends`."""
    return ids[: next((index for index, token in enumerate(ids) if token in ends), len(ids))]


def _settings(of_model: Any, of_call: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a generation: the call's keywords override its config, which overrides the model's."""
    sources = (vars(of_model), vars(of_call) if of_call else {}, keywords)
    return {name: value for source in sources for name, value in source.items() if value is not None}


def _planned_length(inputs: Tensor | None, settings: dict[str, Any]) -> int:
    """Return the number of tokens in context at the end of a generation, padding included; 0 if no limit is set."""
    prompts = (inputs, settings.get("input_ids"), settings.get("inputs_embeds"))
    prompt = max((given.shape[1] for given in prompts if given is not None), default=1)
    if "max_new_tokens" in settings:
        return prompt + settings["max_new_tokens"]
    return settings.get("max_length", 0)
