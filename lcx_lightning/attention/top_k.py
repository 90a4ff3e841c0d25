"""Attention of the last query to the keys that it selects by their logits (top-k of LM-Infinite, arXiv:2308.16137)."""

from copy import copy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lcx_lightning.attention.reference import banded_logits
from lcx_lightning.methods.patterns.base import Band, Selection
from lcx_lightning.methods.rope import Rope, Tables


def attend_selected(
    out: Float[Tensor, "batch heads queries dim"],
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
    selection: Selection,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return `out` with the last token of each row replaced: it also attends to the keys that it selects.

    A row whose last token is not among the queries, because it was in an earlier chunk, is unchanged. Time and memory
    grow with the number of keys, for one query of each row.
    """
    query = last_query(rope).expand(len(q))
    logits = selected_logits(q, k, rope, scale, selection)
    attended = (logits.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v).reshape(*q.shape[:2], 1, -1)
    is_last = torch.arange(q.shape[2], device=q.device) == query[:, None]
    return torch.where(is_last[:, None, :, None], attended, out)


def selected_logits(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
    selection: Selection,
) -> Float[Tensor, "batch groups shared keys"]:
    """Return the logits of the last token of each row over its bands and its selected keys, heads by group.

    A key that is not seen has the lowest number of the dtype.
    """
    (batch, heads, _, _), groups = q.shape, k.shape[1]
    query = last_query(rope).expand(batch)
    last = q[torch.arange(batch, device=q.device), :, query.clamp(min=0)]
    last = last.reshape(batch, groups, heads // groups, -1)  # heads of a group take the place of queries: no copy of k
    one = _of_last_query(rope)
    logits = banded_logits(last, k, one, scale)
    candidates = banded_logits(last, k, _over(one, selection.candidates), scale)
    return torch.where(_largest(candidates, selection.tokens), candidates, logits)


def last_query(rope: Rope) -> Int[Tensor, " rows"]:
    """Return the index of the query that is the last token of each row; negative if it is not among the queries."""
    trailing = rope.key_valid.flip(dims=[1]).int().argmax(dim=1)
    return rope.query_index.shape[1] - 1 - trailing


def _of_last_query(rope: Rope) -> Rope:
    """Return `rope` for the last token of each row only; padding after a text repeats the index of its last token."""
    one = copy(rope)
    one.query_index, one.query_pos = rope.query_index[:, -1:], rope.query_pos[:, -1:]
    one.query_tables = [Tables(tables.cos[:, -1:], tables.sin[:, -1:]) for tables in rope.query_tables]
    one.logit_scale = None if rope.logit_scale is None else rope.logit_scale[:, -1:]
    return one


def _over(rope: Rope, band: Band) -> Rope:
    """Return `rope` over one other band only, with as many rotated pairs as before."""
    pairs = rope.query_tables[0].cos.shape[-1]
    other = copy(rope)
    other.bands = [rope.simplify(band)]
    at_query, at_key = rope.query_tables_of(band), rope.key_tables_of(band)
    other.query_tables = [Tables(at_query.cos[..., :pairs], at_query.sin[..., :pairs])]
    other.key_tables = [Tables(at_key.cos[..., :pairs], at_key.sin[..., :pairs])]
    return other


def _largest(logits: Float[Tensor, "*heads keys"], tokens: int) -> Bool[Tensor, "*heads keys"]:
    """Return where the `tokens` largest logits are, without hidden keys, whose logits are the dtype's lowest number."""
    top = logits.topk(min(tokens, logits.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, top, True)
    return chosen & (logits > torch.finfo(logits.dtype).min)
