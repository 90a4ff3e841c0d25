"""Negative log-likelihood of every token of a window, without ever holding all logits."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from lcx_lightning import head
from lcx_lightning.context_parallel import of_all_ranks, own_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def token_nll(model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"]) -> Float[Tensor, "rows tokens-1"]:
    """Return the negative log-likelihood in nats of every token after the first, float32, in one pass."""
    targets, _ = own_targets(model, ids)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, : targets.shape[1]]
    return of_all_ranks(model, token_losses(model, hidden, targets), ids)


def token_losses(
    model: "PreTrainedModel", hidden: Float[Tensor, "rows tokens dim"], targets: Int[Tensor, "rows tokens"]
) -> Float[Tensor, "rows tokens"]:
    """Return the negative log-likelihood in nats, float32, of the token that each hidden state is to predict."""
    chunk = max(1, head.LOGITS // (len(targets) * model.config.vocab_size))
    parts = [
        cross_entropy(head.logits_of(model, h).flatten(0, 1), t.flatten(), reduction="none").view_as(t)
        for h, t in zip(hidden.split(chunk, dim=1), targets.split(chunk, dim=1), strict=True)
    ]
    return torch.cat(parts, dim=1)
