"""Answers to prompts: the likelihood of a given one, whether it is the model's own, and what the model says instead."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from lcx_lightning import head
from lcx_lightning.cache.smallest import smallest_cache
from lcx_lightning.generation import one_factor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def given_answers(
    model: "PreTrainedModel", prompts: Int[Tensor, "rows tokens"], answers: Int[Tensor, "rows answer"]
) -> tuple[Float[Tensor, "rows answer"], Bool[Tensor, "rows answer"]]:
    """Return the negative log-likelihood in nats of each token of the answers, and whether it is the likeliest there.

    The answer is read token by token, as it would be generated. Where all of its tokens are the likeliest it is what
    greedy generation gives, because up to the first token that is not both have read the same.
    """
    losses, right = [], []

    def choose(logits: Float[Tensor, "rows vocabulary"]) -> Int[Tensor, " rows"]:
        wanted = answers[:, len(losses)]
        losses.append(cross_entropy(logits, wanted, reduction="none"))
        right.append(logits.argmax(dim=-1) == wanted)
        return wanted

    _read(model, prompts, answers.shape[1], choose)
    return torch.stack(losses, dim=1), torch.stack(right, dim=1)


def own_answers(
    model: "PreTrainedModel", prompts: Int[Tensor, "rows tokens"], most: int
) -> list[Int[Tensor, " answer"]]:
    """Return what the model says to each prompt, always the likeliest token, until it ends or has said `most`."""
    said = []
    end = getattr(model.generation_config, "eos_token_id", None)
    ends = torch.tensor([end] if isinstance(end, int) else end or [], dtype=torch.long, device=prompts.device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)

    def choose(logits: Float[Tensor, "rows vocabulary"]) -> Int[Tensor, " rows"] | None:
        token = logits.argmax(dim=-1)
        said.append(token)
        ended.logical_or_(torch.isin(token, ends))
        return None if ended.all() else token

    _read(model, prompts, most, choose)
    rows = torch.stack(said, dim=1)
    stops = torch.isin(rows, ends).int().cummax(dim=1).values.bool()
    return [row[~stop] for row, stop in zip(rows, stops, strict=True)]


@torch.inference_mode()
def _read(
    model: "PreTrainedModel",
    prompts: Int[Tensor, "rows tokens"],
    most: int,
    choose: Callable[[Tensor], Tensor | None],
) -> None:
    """Read prompts at once, into the smallest cache, and then the tokens that are chosen by logits, one by one.

    Every pass has the scale factor of the prompt with `most` tokens more, as those of a generation have.
    """
    cache, ids = smallest_cache(model, held=True), prompts
    with one_factor(model, prompts.shape[1] + most):
        for _ in range(most):
            hidden = model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
            token = choose(head.logits_of(model, hidden[:, -1]))
            if token is None:
                return
            ids = token[:, None]
