"""Banded attention on CPU: torch's flash kernel on each band, merged by log-sum-exp (FlashAttention, arXiv:2205.14135).

Time O(n * (window + sink_tokens)), and logits are never stored.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.backends.tiling import Tile, tiles
from lcx_lightning.methods.rope import Rope, Tables

EMPTY_LSE = -1e30  # log-sum-exp of a query without keys in a band: finite, because differences of -inf are NaN

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@torch.compiler.disable  # calls of one kernel, on tiles that depend on the padding: nothing to fuse
def attend_flash_bands(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return attention over the union of the bands; 0 for a query on padding that sees nothing."""
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    tables = [x for pair in zip(rope.query_tables, rope.key_tables, strict=True) for table in pair for x in table]
    return _FlashBands.apply(q, k, v, rope, scale, *tables)  # pyright: ignore[reportReturnType]


class _FlashBands(torch.autograd.Function):
    """Attention over all bands and their merge, with its own backward pass.

    The log-sum-exp that the kernel returns has no gradient. But a softmax weight is exp(logit - log-sum-exp over all
    bands): given the merged output and log-sum-exp, the kernel's backward function, called on the pairs of one band,
    returns their part of the gradients.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rope: Rope, scale: float, *tables: Tensor) -> Tensor:
        inputs = [q, k, v, *tables]
        out = torch.zeros_like(q)
        lse = q.new_full(q.shape[:3], EMPTY_LSE, dtype=torch.promote_types(q.dtype, torch.float32))
        for band_tiles in tiles(rope, len(q), q.shape[2]):
            partial = [
                _attend([inputs[i][part] for i, part in _input_slices(tile, inputs)], tile, scale)
                for tile in band_tiles
            ]
            at = (band_tiles[0].rows, slice(None), band_tiles[0].queries)
            out[at], lse[at] = _merge(partial)
        ctx.save_for_backward(*inputs, out, lse)
        ctx.rope, ctx.scale = rope, scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, out, lse = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:3], *ctx.needs_input_grad[5:]]
        grads = [torch.zeros_like(x) if needed else None for x, needed in zip(inputs, wanted, strict=True)]
        for band_tiles in tiles(ctx.rope, len(grad), grad.shape[2]):
            at = (band_tiles[0].rows, slice(None), band_tiles[0].queries)
            merged = grad[at], out[at], lse[at]
            for tile in band_tiles:
                _add_gradients(grads, inputs, tile, merged, ctx.scale)
        return (*grads[:3], None, None, *grads[3:])


def _input_slices(tile: Tile, inputs: list[Tensor]) -> list[tuple[int, tuple[slice, ...]]]:
    """Return the indices of the inputs that a tile reads, and the part of each: q, k, v, tables of queries and keys."""
    everything = slice(None)
    of_queries, of_keys = (tile.rows, everything, tile.queries), (tile.rows, everything, tile.keys)
    first = 3 + 4 * tile.band
    rows = everything if len(inputs[first]) == 1 else tile.rows
    tables = [(first + i, (rows, tile.queries if i < 2 else tile.keys)) for i in range(4)]
    return [(0, of_queries), (1, of_keys), (2, of_keys), *tables]


def _prepare(parts: list[Tensor], tile: Tile) -> tuple[Tensor, ...]:
    q, k, v, *tables = parts
    q, k, v = tile.prepare(q, k, v, Tables(*tables[:2]), Tables(*tables[2:]))
    return q, k, _dense(v)


def _attend(parts: list[Tensor], tile: Tile, scale: float) -> tuple[Tensor, Tensor]:
    """Return the output of one tile and its log-sum-exp, [rows, heads, queries, dim] and [rows, heads, queries]."""
    heads = parts[0].shape[1]
    q, k, v = _prepare(parts, tile)
    mask = _mask(tile, q)
    out, lse = flash(q, k, v, 0.0, False, attn_mask=mask, scale=scale)
    if mask is not None:
        lse = lse.masked_fill((mask == -torch.inf).all(dim=-1), EMPTY_LSE)
    return tile.unfold_queries(out, heads), tile.unfold_queries(lse[..., None], heads)[..., 0]


def _mask(tile: Tile, q: Tensor) -> Tensor | None:
    """Return the mask to add to logits, 0 where the band holds a pair and -inf elsewhere; None if it holds all.

    Its shape is [rows * blocks, 1, queries_of_heads, width].
    """
    visible = tile.visible()
    if visible is None:
        return None
    hidden = ~visible[:, None].repeat(1, 1, q.shape[2] // visible.shape[1], 1)
    return q.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)


def _merge(partial: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp over all tiles, from the output and the log-sum-exp of each."""
    out, lse = partial[0]
    for more, more_lse in partial[1:]:
        share = (more_lse - lse).sigmoid()
        out = torch.lerp(out.to(share.dtype), more.to(share.dtype), share[..., None])
        lse = torch.logaddexp(lse, more_lse)
    return out, lse


def _add_gradients(
    grads: list[Tensor | None],
    inputs: list[Tensor],
    tile: Tile,
    merged: tuple[Tensor, Tensor, Tensor],
    scale: float,
) -> None:
    """Add to the gradients the part of one tile. `merged` is gradient, output and log-sum-exp of its queries."""
    slices = _input_slices(tile, inputs)
    parts = [inputs[i][part].detach().requires_grad_(grads[i] is not None) for i, part in slices]
    with torch.enable_grad():
        prepared = _prepare(parts, tile)
    q, k, v = (x.detach() for x in prepared)
    grad, out, lse = (tile.fold_queries(x, k.shape[1]) for x in (*merged[:2], merged[2][..., None]))
    found = flash_backward(
        _dense(grad), q, k, v, _dense(out), lse[..., 0], 0.0, False, attn_mask=_mask(tile, q), scale=scale
    )
    outputs = [(x, g) for x, g in zip(prepared, found, strict=True) if x.requires_grad]
    wanted = [(part, grads[i][at]) for part, (i, at) in zip(parts, slices, strict=True) if grads[i] is not None]  # pyright: ignore[reportOptionalSubscript]
    given = torch.autograd.grad(  # materialized: tables without pairs take no part
        [x for x, _ in outputs],
        [part for part, _ in wanted],
        [g for _, g in outputs],
        materialize_grads=True,
    )
    for (_, total), gradient in zip(wanted, given, strict=True):
        total += gradient


def _dense(x: Tensor) -> Tensor:
    """Return `x` with the features of a token contiguous in memory, as the kernel expects."""
    return x if x.stride(-1) == 1 else x.contiguous()
