"""Attention over bands in its simplest form: the specification against which the backends are tested."""

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.rope import Rope


def attend_reference(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return attention over the union of the bands. Memory grows with queries * keys."""
    v = v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)
    return banded_logits(q, k, rope, scale).softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v


def banded_logits(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries keys"]:
    """Return the logits of every pair; the lowest number of the dtype for a pair in no band."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    logits = q.new_full((*q.shape[:3], k.shape[2]), torch.finfo(q.dtype).min)
    for band, at_query, at_key in zip(rope.bands, rope.query_tables, rope.key_tables, strict=True):
        visible = band.visible(
            rope.query_index[:, None, :, None],
            rope.key_index[:, None, None, :],
            rope.query_pos[:, None, :, None],
            rope.key_pos[:, None, None, :],
        )
        scores = rotate(q, at_query) @ rotate(k, at_key).mT * scale
        logits = torch.where(visible & rope.key_valid[:, None, None, :], scores, logits)
    return logits
