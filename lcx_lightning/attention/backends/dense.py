"""Dense attention: one causal band at true distances, with torch's fused kernels (FlashAttention, arXiv:2205.14135)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope


def is_dense(bands: list[Band]) -> bool:
    """Return whether the bands are plain causal attention."""
    return bands == [Band()]


def attend_dense(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return causal attention. Memory is linear in the number of keys, unless padding or a chunk requires a mask."""
    if rope.logit_scale is not None:
        q = (q * rope.logit_scale[:, None, :, None]).to(q.dtype)
    q, k = rotate(q, rope.query_tables[0]), rotate(k, rope.key_tables[0])
    (heads, queries), (groups, keys) = q.shape[1:3], k.shape[1:3]
    if not rope.padded and queries in (1, keys):  # the last query sees every key
        causal, grouped = queries > 1, heads != groups
        return scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=grouped)
    # CUDA's fused kernels take either masks or grouped keys
    k, v = (x.repeat_interleave(heads // groups, dim=1) for x in (k, v))
    visible = rope.bands[0].visible(rope.query_index[:, None, :, None], rope.key_index[:, None, None, :])
    visible = visible & rope.key_valid[:, None, None, :]
    sees_nothing = ~visible.any(dim=-1, keepdim=True)  # queries on padding: let them see any key, so that none is NaN
    return scaled_dot_product_attention(q, k, v, attn_mask=visible | sees_nothing, scale=scale)
