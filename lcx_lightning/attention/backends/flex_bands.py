"""Banded attention on a GPU: FlexAttention on each band, merged by log-sum-exp (Dong et al. 2024, arXiv:2412.05496).

Tested on CPU, where torch runs FlexAttention unfused: results, and gradients by its reference. It has not run on a GPU,
so it is there to be chosen, and not chosen automatically.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from lcx_lightning.attention.backends.blocks import span_of
from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope

BLOCK = 128  # queries, and keys, that are read or skipped together
NOTHING = -1e30  # least log-sum-exp: that of a query which a band holds no key of is -inf, and differences would be NaN


def attend_flex_bands(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Attend over the union of the bands. A query on padding that sees nothing yields 0.

    Time grows with the blocks that the bands reach; beside them every band has a table of queries * keys / 128^2
    numbers. Torch differentiates the log-sum-exp of FlexAttention, and so the merge.
    """
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    attends: Any = torch.compile(flex_attention) if q.is_cuda else flex_attention  # compiled once for a kind of band
    grouped, outs, sums = q.shape[1] != k.shape[1], [], []
    for band, at_query, at_key in zip(rope.bands, rope.query_tables, rope.key_tables, strict=True):
        out, aux = attends(
            rotate(q, at_query),
            rotate(k, at_key),
            v,
            block_mask=block_mask(rope, band),
            scale=scale,
            enable_gqa=grouped,
            return_aux=AuxRequest(lse=True),
        )
        outs.append(out)
        sums.append(aux.lse.float().clamp(min=NOTHING))
    shares = torch.stack(sums).softmax(dim=0)
    return torch.stack([share[..., None] * out for share, out in zip(shares, outs, strict=True)]).sum(dim=0).to(q.dtype)


def block_mask(rope: Rope, band: Band) -> BlockMask:
    """Return which blocks of keys each block of queries can reach in the band, and which of their pairs it holds."""
    queries, keys = rope.query_index.shape[1], rope.key_index.shape[1]
    spans = [span_of(band, rope, slice(at, min(at + BLOCK, queries))) for at in range(0, queries, BLOCK)]
    bounds = [(span.start // BLOCK, -(-span.stop // BLOCK) if span.stop > span.start else 0) for span in spans]
    first, end = torch.tensor(bounds, dtype=torch.int32, device=rope.key_index.device).unbind(dim=1)
    all_blocks = torch.arange(-(-keys // BLOCK), dtype=torch.int32, device=first.device)
    order = (first[:, None] + all_blocks) % len(all_blocks)  # those that are read stand first

    def visible(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        held = band.visible(
            _at(rope.query_index, row, query),
            _at(rope.key_index, row, key),
            _at(rope.query_pos, row, query),
            _at(rope.key_pos, row, key),
        )
        return held & _at(rope.key_valid, row, key)

    return BlockMask.from_kv_blocks(
        (end - first).clamp(min=0)[None, None],
        order[None, None],
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(queries, keys),
    )


def _at(x: Tensor, row: Tensor, token: Tensor) -> Tensor:
    """Return x[row, token] of a tensor that may have one row for all."""
    return x[row, token] if len(x) > 1 else x[0][token]
