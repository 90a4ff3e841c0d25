"""Rotation of queries and keys by tables of cosines and sines (rotary position embedding, arXiv:2104.09864)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lcx_lightning.methods.rope import Tables


def rotate(x: Float[Tensor, "batch heads tokens dim"], tables: Tables) -> Float[Tensor, "batch heads tokens dim"]:
    """Return `x` with its first 2 * pairs features rotated, in half-split layout; the other features are unchanged."""
    if not tables.cos.shape[-1]:
        return x
    learned = tables.cos.requires_grad or tables.sin.requires_grad
    if learned and not torch.compiler.is_compiling():  # compiled, the plain formula is as good
        return _Rotation.apply(x, *tables)  # pyright: ignore[reportReturnType]
    return _rotated(x, *tables)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    cos, sin = cos[:, None], sin[:, None]
    a, b, rest = _halves(x, cos.shape[-1])
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1).to(x.dtype)


def _halves(x: Tensor, pairs: int) -> tuple[Tensor, ...]:
    """Return first features of the pairs, second features, and the unrotated features, float32 or wider."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide.split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)


class _Rotation(torch.autograd.Function):
    """Rotation by tables with a gradient, as learned frequencies need; it saves only what attention keeps anyway.

    Write the gradient g and the features x of a pair as complex numbers, and r = cos + i sin. The gradient of the
    tables is the sum over heads of g conj(x). We compute the sum of g conj(y) instead, where y = r x are the rotated
    features that attention saves; it is conj(r) times the sum we need.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = _rotated(x, cos, sin)
        ctx.save_for_backward(y, cos, sin)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, cos, sin = ctx.saved_tensors
        a, b, rest = _halves(grad, cos.shape[-1])
        swapped, still = torch.cat([b, a, rest], dim=-1), rest.new_zeros(*cos.shape[:2], rest.shape[-1])
        of_x = torch.mul(grad, torch.cat([cos, cos, still + 1], dim=-1)[:, None])
        of_x.addcmul_(swapped, torch.cat([sin, -sin, still], dim=-1)[:, None])
        y = y.to(swapped.dtype)
        first, second, _ = _summed(y * grad, cos)
        real = first + second
        first, second, _ = _summed(y * swapped, cos)
        imaginary, square = first - second, cos.square() + sin.square()
        of_cos, of_sin = (real * cos - imaginary * sin) / square, (imaginary * cos + real * sin) / square
        return of_x.to(grad.dtype), of_cos, of_sin


def _summed(x: Tensor, table: Tensor) -> tuple[Tensor, ...]:
    """Return the sum over heads, and over rows if they share a table, divided as in `_halves`."""
    return _halves(x.sum((0, 1) if len(table) == 1 else 1).view(*table.shape[:2], -1), table.shape[-1])


def half_split(x: Float[Tensor, "batch heads tokens dim"], pairs: int) -> Float[Tensor, "batch heads tokens dim"]:
    """Return `x` with interleaved pairs, features 2i and 2i + 1, reordered to half-split pairs, i and i + pairs.

    Logits do not change if queries and keys are reordered in the same way, so attention supports only one layout.
    """
    return torch.cat([x[..., : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2], x[..., 2 * pairs :]], dim=-1)
