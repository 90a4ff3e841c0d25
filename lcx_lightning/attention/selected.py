"""Attention of the last query to the keys that it chooses by their logits (top-k of LM-Infinite, arXiv:2308.16137)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lcx_lightning.attention.reference import banded_logits
from lcx_lightning.attention.rope import Rope


def attend_selected(
    out: Float[Tensor, "batch heads queries dim"],
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return `out`, where the last token of each row has attended to the keys it chooses too.

    A row whose last token is not among the queries, as one that ended in an earlier chunk, stays as it is. Time and
    memory grow with the keys, for one query of each row.
    """
    assert rope.selection is not None
    assert rope.choosers is not None
    (batch, heads, queries, _), groups = q.shape, k.shape[1]
    query = (rope.last_slot() - k.shape[2] + queries).expand(batch)
    last = q[torch.arange(batch, device=q.device), :, query.clamp(min=0)]
    last = last.reshape(
        batch, groups, heads // groups, -1
    )  # the heads of a group serve as its queries: no key is copied
    logits, candidates = (banded_logits(last, k, one, scale) for one in rope.choosers)
    logits = torch.where(_largest(candidates, rope.selection.tokens), candidates, logits)
    weights = logits.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    attended = (weights @ v).reshape(batch, heads, 1, -1)
    chooses = torch.arange(queries, device=q.device) == query[:, None]
    return torch.where(chooses[:, None, :, None], attended, out)


def _largest(logits: Float[Tensor, "*heads keys"], tokens: int) -> Bool[Tensor, "*heads keys"]:
    """Return where the largest logits are, as many as there are up to `tokens`; hidden keys have the least number."""
    top = logits.topk(min(tokens, logits.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, top, True)
    return chosen & (logits > torch.finfo(logits.dtype).min)
