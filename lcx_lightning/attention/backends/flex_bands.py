"""Banded attention on a GPU: FlexAttention on each band, merged by log-sum-exp (Dong et al. 2024, arXiv:2412.05496).

Results and gradients are tested on CPU, where torch runs FlexAttention unfused. This backend has not run on a GPU yet,
and is therefore never chosen automatically.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from lcx_lightning.attention.backends.blocks import reachable_keys
from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope

BLOCK = 128  # queries, and keys, that are computed or skipped together
EMPTY_LSE = -1e30  # log-sum-exp of a query without keys in a band: finite, because differences of -inf are NaN


def attend_flex_bands(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return attention over the union of the bands; 0 for a query on padding that sees nothing.

    Time is proportional to the number of blocks in the bands. Every band also needs a table of queries * keys / 128^2
    numbers. The log-sum-exp of FlexAttention has a gradient, and so has the merge.
    """
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    attention: Any = torch.compile(flex_attention) if q.is_cuda else flex_attention  # compiled once for a kind of band
    grouped, outs, sums = q.shape[1] != k.shape[1], [], []
    for band, at_query, at_key in zip(rope.bands, rope.query_tables, rope.key_tables, strict=True):
        out, aux = attention(
            rotate(q, at_query),
            rotate(k, at_key),
            v,
            block_mask=block_mask(rope, band),
            scale=scale,
            enable_gqa=grouped,
            return_aux=AuxRequest(lse=True),
        )
        outs.append(out)
        sums.append(aux.lse.float().clamp(min=EMPTY_LSE))
    shares = torch.stack(sums).softmax(dim=0)
    return torch.stack([share[..., None] * out for share, out in zip(shares, outs, strict=True)]).sum(dim=0).to(q.dtype)


def block_mask(rope: Rope, band: Band) -> BlockMask:
    """Return the blocks of keys that hold pairs of the band, for each block of queries, and a mask of these pairs."""
    queries, keys = rope.query_index.shape[1], rope.key_index.shape[1]
    spans = [reachable_keys(band, rope, slice(at, min(at + BLOCK, queries))) for at in range(0, queries, BLOCK)]
    bounds = [(span.start // BLOCK, -(-span.stop // BLOCK) if span.stop > span.start else 0) for span in spans]
    first, end = torch.tensor(bounds, dtype=torch.int32, device=rope.key_index.device).unbind(dim=1)
    all_blocks = torch.arange(-(-keys // BLOCK), dtype=torch.int32, device=first.device)
    order = (first[:, None] + all_blocks) % len(all_blocks)  # blocks with pairs first

    def visible(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        in_band = band.visible(
            _at(rope.query_index, row, query),
            _at(rope.key_index, row, key),
            _at(rope.query_pos, row, query),
            _at(rope.key_pos, row, key),
        )
        return in_band & _at(rope.key_valid, row, key)

    return BlockMask.from_kv_blocks(
        (end - first).clamp(min=0)[None, None],
        order[None, None],
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(queries, keys),
    )


def _at(x: Tensor, row: Tensor, token: Tensor) -> Tensor:
    """Return x[row, token], for a tensor that may have a single row for all."""
    return x[row, token] if len(x) > 1 else x[0][token]
