"""Banded attention, block by block: time and memory O(n * (window + sink_tokens)) (LM-Infinite, arXiv:2308.16137)."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope, Tables

QUERY_BLOCK = 128  # queries that share one slice of keys; a band of w distances reads w + 127 keys for each block


def attend_blocks(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Attend over the union of the bands, reading for each block of queries only the keys that a band can reach.

    The bands are disjoint, so the keys of all bands, side by side, are one softmax.
    """
    q = q * scale
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    reaches = [span_of(band, rope, slice(0, q.shape[2])) for band in rope.bands]
    q_rotated = [rotate(q, tables) for tables in rope.query_tables]
    k_rotated = [
        _rotate_span(k, tables, max_context) for tables, max_context in zip(rope.key_tables, reaches, strict=True)
    ]
    outputs = []
    for block in _blocks(q.shape[2]):
        scores, values = [], []
        for q_b, k_b, band, max_context in zip(q_rotated, k_rotated, rope.bands, reaches, strict=True):
            span = span_of(band, rope, block)
            k_span = k_b[:, :, span.start - max_context.start : span.stop - max_context.start]
            logits = matmul_grouped(q_b[:, :, block], k_span.mT)
            scores.append(logits.masked_fill(~_visible(band, rope, block, span), torch.finfo(q.dtype).min))
            values.append(v[:, :, span])
        weights = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        outputs.append(matmul_grouped(weights, torch.cat(values, dim=2)))
    return torch.cat(outputs, dim=2)


def _blocks(queries: int) -> Iterator[slice]:
    for start in range(0, queries, QUERY_BLOCK):
        yield slice(start, min(start + QUERY_BLOCK, queries))


def span_of(band: Band, rope: Rope, block: slice) -> slice:
    """Return the slice of keys that the band can reach from a block of queries."""
    keys = rope.key_index.shape[1]
    first_query = keys - rope.query_index.shape[1]  # slot of the first query
    stop = first_query + block.stop - band.min_distance  # two tokens are at least their distance of slots apart
    if band.first_keys is not None:
        stop = keys if rope.sparse else stop  # sinks stand nearer than they are
        stop = min(stop, rope.leading + rope.inner + band.first_keys)
    if band.max_distance is None:
        return slice(0, max(stop, 0))
    start = max(first_query + block.start - band.max_distance + 1 - rope.inner, 0)
    return slice(start, max(stop, start))


def _rotate_span(k: Tensor, tables: Tables, span: slice) -> Tensor:
    return rotate(k[:, :, span], Tables(tables.cos[:, span], tables.sin[:, span]))


def _visible(band: Band, rope: Rope, block: slice, span: slice) -> Bool[Tensor, "rows 1 queries keys"]:
    """Return which pairs of a block of queries and a slice of keys the band holds."""
    visible = band.visible(
        rope.query_index[:, None, block, None],
        rope.key_index[:, None, None, span],
        rope.query_pos[:, None, block, None],
        rope.key_pos[:, None, None, span],
    )
    return visible & rope.key_valid[:, None, None, span]


def matmul_grouped(
    x: Float[Tensor, "batch heads queries a"], y: Float[Tensor, "batch groups a b"]
) -> Float[Tensor, "batch heads queries b"]:
    """Return x @ y, where consecutive heads of x share one group of y, which is not copied."""
    batch, heads, queries, _ = x.shape
    return (x.reshape(batch, y.shape[1], -1, x.shape[-1]) @ y).reshape(batch, heads, queries, y.shape[-1])
