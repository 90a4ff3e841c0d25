"""Banded attention, block by block: time and memory O(n * (window + sink_tokens)) (LM-Infinite, arXiv:2308.16137)."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope, Tables

QUERY_BLOCK = 128  # queries that share a slice of keys; a band of w distances needs w + 127 keys for each block


def attend_blocks(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return attention over the union of the bands; each block of queries reads only the keys that it can see.

    The bands are disjoint, so that one softmax over the concatenated logits of all bands is exact.
    """
    q = q * scale
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    keys_of_bands = [reachable_keys(band, rope, slice(0, q.shape[2])) for band in rope.bands]
    q_rotated = [rotate(q, tables) for tables in rope.query_tables]
    k_rotated = [_rotate_keys(k, tables, keys) for tables, keys in zip(rope.key_tables, keys_of_bands, strict=True)]
    outputs = []
    for block in _blocks(q.shape[2]):
        scores, values = [], []
        for q_b, k_b, band, band_keys in zip(q_rotated, k_rotated, rope.bands, keys_of_bands, strict=True):
            keys = reachable_keys(band, rope, block)
            k_block = k_b[:, :, keys.start - band_keys.start : keys.stop - band_keys.start]
            logits = matmul_grouped(q_b[:, :, block], k_block.mT)
            scores.append(logits.masked_fill(~_visible(band, rope, block, keys), torch.finfo(q.dtype).min))
            values.append(v[:, :, keys])
        weights = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        outputs.append(matmul_grouped(weights, torch.cat(values, dim=2)))
    return torch.cat(outputs, dim=2)


def _blocks(queries: int) -> Iterator[slice]:
    for start in range(0, queries, QUERY_BLOCK):
        yield slice(start, min(start + QUERY_BLOCK, queries))


def reachable_keys(band: Band, rope: Rope, block: slice) -> slice:
    """Return the slice of keys that contains every key which a band shows to a block of queries."""
    keys = rope.key_index.shape[1]
    first_query = keys - rope.query_index.shape[1]  # slot of the first query
    stop = first_query + block.stop - band.min_distance  # slots of two tokens differ by at least their distance
    if band.first_keys is not None:
        stop = keys if rope.sparse else stop  # without the tokens in between, the slots of sinks are nearer
        stop = min(stop, rope.leading + rope.inner + band.first_keys)
    if band.max_distance is None:
        return slice(0, max(stop, 0))
    start = max(first_query + block.start - band.max_distance + 1 - rope.inner, 0)
    return slice(start, max(stop, start))


def _rotate_keys(k: Tensor, tables: Tables, keys: slice) -> Tensor:
    return rotate(k[:, :, keys], Tables(tables.cos[:, keys], tables.sin[:, keys]))


def _visible(band: Band, rope: Rope, block: slice, keys: slice) -> Bool[Tensor, "rows 1 queries keys"]:
    """Return which pairs of a block of queries and a slice of keys the band holds."""
    visible = band.visible(
        rope.query_index[:, None, block, None],
        rope.key_index[:, None, None, keys],
        rope.query_pos[:, None, block, None],
        rope.key_pos[:, None, None, keys],
    )
    return visible & rope.key_valid[:, None, None, keys]


def matmul_grouped(
    x: Float[Tensor, "batch heads queries a"], y: Float[Tensor, "batch groups a b"]
) -> Float[Tensor, "batch heads queries b"]:
    """Return x @ y, where consecutive heads of x share a group of y; y is not copied for them."""
    batch, heads, queries, _ = x.shape
    return (x.reshape(batch, y.shape[1], -1, x.shape[-1]) @ y).reshape(batch, heads, queries, y.shape[-1])
