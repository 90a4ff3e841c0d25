"""Negative log-likelihood of every token of a window, without ever holding all logits, and the row that records it."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import Record
from lcx_lightning.models import lm_head
from lcx_lightning.models.context_parallel import gather_losses, local_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**23  # held at once: 32 MiB of float32, and as much again for their logarithms


@torch.inference_mode()
def token_nll(
    model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"], last: int | None = None
) -> Float[Tensor, "rows scored"]:
    """Return the negative log-likelihood in nats, float32, of the `last` tokens (None: all but the first), one pass."""
    scored = ids.shape[1] - 1 if last is None else last
    targets, _ = local_targets(model, ids)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, : targets.shape[1]]
    if targets.shape[1] == ids.shape[1] - 1:  # no other rank has a share of the texts
        hidden, targets = hidden[:, -scored:], targets[:, -scored:]
    return gather_losses(model, token_losses(model, hidden, targets), ids)[:, -scored:]


def token_losses(
    model: "PreTrainedModel", hidden: Float[Tensor, "rows tokens dim"], targets: Int[Tensor, "rows tokens"]
) -> Float[Tensor, "rows tokens"]:
    """Return the negative log-likelihood in nats, float32, of the token that each hidden state is to predict."""
    chunk = max(1, LOGITS // (len(targets) * model.config.vocab_size))
    parts = [
        cross_entropy(lm_head.logits_of(model, h).flatten(0, 1), t.flatten(), reduction="none").view_as(t)
        for h, t in zip(hidden.split(chunk, dim=1), targets.split(chunk, dim=1), strict=True)
    ]
    return torch.cat(parts, dim=1)


def without_first(parts: Iterable[Float[Tensor, "rows _"]], count: int) -> Iterator[Float[Tensor, "rows _"]]:
    """Yield the losses of one part of texts after the other, without the first `count` of all."""
    for part in parts:
        yield part[:, count:]
        count = max(count - part.shape[1], 0)


def nll_row(
    evaluation: str,
    protocol: str,
    data: LongContextData,
    window: Window,
    *,
    length: int,
    n: int,
    at: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
) -> Record:
    """Return the row of the loss of `n` tokens of a window in a context of `length` tokens, without its value.

    `at` is what places the number beside the window, and `details` are settings that do not.
    """
    row = {
        "evaluation": evaluation,
        "protocol": protocol,
        "dataset": f"{data.corpus.name}/{window.split}",
        "document": window.document,
        "context_length": length,
        "metric": "nll",
        "n": n,
        "at": {"window": window.end, **(at or {})},
    }
    return row | {"details": details} if details else row
