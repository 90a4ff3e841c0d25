"""One attention function: the fastest implementation that can do what a pattern asks."""

from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.banded import attend_banded
from lcx_lightning.attention.dense import attend_dense, is_dense
from lcx_lightning.attention.rope import Rope


def attend(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
) -> Float[Tensor, "batch heads queries dim"]:
    """Attend over the bands of `rope`: q and k come unrotated, `scale` is the model's own scale of the logits."""
    implementation = attend_dense if is_dense(rope.bands) else attend_banded
    return implementation(q, k, v, rope, scale)
