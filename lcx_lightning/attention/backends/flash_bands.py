"""Banded attention on CPU: torch's flash kernel on each band, merged by log-sum-exp (FlashAttention, arXiv:2205.14135).

Time O(n * (window + sink_tokens)), and logits are never stored.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.backends.tiling import Tile, tiles
from lcx_lightning.methods.rope import Rope, Tables

NOTHING = -1e30  # log-sum-exp of a query that a band holds no key of: as good as -inf, and differences are no NaN

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@torch.compiler.disable  # calls of one kernel, on pieces that depend on the padding: nothing to fuse
def attend_flash_bands(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Attend over the union of the bands. A query on padding that sees nothing yields 0."""
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    tables = [x for pair in zip(rope.query_tables, rope.key_tables, strict=True) for table in pair for x in table]
    return _FlashBands.apply(q, k, v, rope, scale, *tables)  # pyright: ignore[reportReturnType]


class _FlashBands(torch.autograd.Function):
    """Bands and their merge, differentiated here, because the log-sum-exp that the kernel returns has no gradient.

    A weight is exp(logit - log-sum-exp over all bands): given the merged output and log-sum-exp, the kernel's backward
    on the pairs of one band yields what they add to the gradients.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rope: Rope, scale: float, *tables: Tensor) -> Tensor:
        inputs = [q, k, v, *tables]
        out = torch.zeros_like(q)
        lse = q.new_full(q.shape[:3], NOTHING, dtype=torch.promote_types(q.dtype, torch.float32))
        for piece in tiles(rope, len(q), q.shape[2]):
            found = [_attend([inputs[i][place] for i, place in _places(read, inputs)], read, scale) for read in piece]
            at = (piece[0].rows, slice(None), piece[0].queries)
            out[at], lse[at] = _merged(found)
        ctx.save_for_backward(*inputs, out, lse)
        ctx.rope, ctx.scale = rope, scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, out, lse = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:3], *ctx.needs_input_grad[5:]]
        grads = [torch.zeros_like(x) if needed else None for x, needed in zip(inputs, wanted, strict=True)]
        for piece in tiles(ctx.rope, len(grad), grad.shape[2]):
            at = (piece[0].rows, slice(None), piece[0].queries)
            merged = grad[at], out[at], lse[at]
            for read in piece:
                _add_gradients(grads, inputs, read, merged, ctx.scale)
        return (*grads[:3], None, None, *grads[3:])


def _places(read: Tile, inputs: list[Tensor]) -> list[tuple[int, tuple[slice, ...]]]:
    """Return which inputs a read takes, and which part of each: q, k, v, and the tables of queries and of keys."""
    everything = slice(None)
    of_queries, of_keys = (read.rows, everything, read.queries), (read.rows, everything, read.keys)
    first = 3 + 4 * read.band
    rows = everything if len(inputs[first]) == 1 else read.rows
    tables = [(first + i, (rows, read.queries if i < 2 else read.keys)) for i in range(4)]
    return [(0, of_queries), (1, of_keys), (2, of_keys), *tables]


def _prepared(parts: list[Tensor], read: Tile) -> tuple[Tensor, ...]:
    q, k, v, *tables = parts
    q, k, v = read.prepared(q, k, v, Tables(*tables[:2]), Tables(*tables[2:]))
    return q, k, _dense(v)


def _attend(parts: list[Tensor], read: Tile, scale: float) -> tuple[Tensor, Tensor]:
    """Return the output of one band and its log-sum-exp, [rows, heads, queries, dim] and [rows, heads, queries]."""
    heads = parts[0].shape[1]
    q, k, v = _prepared(parts, read)
    mask = _mask(read, q)
    out, lse = flash(q, k, v, 0.0, False, attn_mask=mask, scale=scale)
    if mask is not None:
        lse = lse.masked_fill((mask == -torch.inf).all(dim=-1), NOTHING)
    return read.unfold_queries(out, heads), read.unfold_queries(lse[..., None], heads)[..., 0]


def _mask(read: Tile, q: Tensor) -> Tensor | None:
    """Return 0 where the band holds a pair and -inf elsewhere, [rows * blocks, 1, queries_of_heads, width]."""
    visible = read.visible()
    if visible is None:
        return None
    hidden = ~visible[:, None].repeat(1, 1, q.shape[2] // visible.shape[1], 1)
    return q.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)


def _merged(found: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the output and the log-sum-exp over all bands, of those of each."""
    out, lse = found[0]
    for more, more_lse in found[1:]:
        share = (more_lse - lse).sigmoid()
        out = torch.lerp(out.to(share.dtype), more.to(share.dtype), share[..., None])
        lse = torch.logaddexp(lse, more_lse)
    return out, lse


def _add_gradients(
    grads: list[Tensor | None],
    inputs: list[Tensor],
    read: Tile,
    merged: tuple[Tensor, Tensor, Tensor],
    scale: float,
) -> None:
    """Add to the gradients what one read of one band gives. `merged`: of its queries, gradient, output, log-sum-exp."""
    places = _places(read, inputs)
    parts = [inputs[i][place].detach().requires_grad_(grads[i] is not None) for i, place in places]
    with torch.enable_grad():
        prepared = _prepared(parts, read)
    q, k, v = (x.detach() for x in prepared)
    grad, out, lse = (read.fold_queries(x, k.shape[1]) for x in (*merged[:2], merged[2][..., None]))
    found = flash_backward(
        _dense(grad), q, k, v, _dense(out), lse[..., 0], 0.0, False, attn_mask=_mask(read, q), scale=scale
    )
    outputs = [(x, g) for x, g in zip(prepared, found, strict=True) if x.requires_grad]
    wanted = [(part, grads[i][place]) for part, (i, place) in zip(parts, places, strict=True) if grads[i] is not None]  # pyright: ignore[reportOptionalSubscript]
    given = torch.autograd.grad(  # materialized: tables in which no pair turns take no part
        [x for x, _ in outputs],
        [part for part, _ in wanted],
        [g for _, g in outputs],
        materialize_grads=True,
    )
    for (_, total), gradient in zip(wanted, given, strict=True):
        total += gradient


def _dense(x: Tensor) -> Tensor:
    """Return `x` with the features of a token next to each other, as the kernel reads them."""
    return x if x.stride(-1) == 1 else x.contiguous()
