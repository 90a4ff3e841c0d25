"""One attention function: the fastest implementation that can do what a pattern asks."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.banded import attend_banded
from lcx_lightning.attention.dense import attend_dense, is_dense
from lcx_lightning.attention.flash_bands import attend_flash_bands
from lcx_lightning.attention.rope import Rope
from lcx_lightning.attention.selected import attend_selected

FEW = 16  # queries whose logits are so small that one softmax over all bands takes less time than a merge: decoding
IMPLEMENTATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Rope, float], Tensor]] = {
    "dense": attend_dense,  # torch's fused kernels on one causal band
    "flash_bands": attend_flash_bands,  # torch's CPU kernel on each band
    "blocks": attend_banded,  # logits of a block of queries at a time: decoding, and other devices
}


def attend(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    rope: Rope,
    scale: float,
    depth: float = 1.0,
) -> Float[Tensor, "batch heads queries dim"]:
    """Attend over the bands of `rope`, and over what the last query of each row chooses besides.

    Args:
        q: Unrotated.
        k: Unrotated.
        v: Values.
        rope: Of this pass.
        scale: The model's own scale of the logits.
        depth: Share of the model's layers up to this one, itself included.
    """
    out = IMPLEMENTATIONS[implementation_of(rope)](q, k, v, rope, scale)
    if rope.selection is None or depth <= rope.selection.first_layer:
        return out
    return attend_selected(out, q, k, v, rope, scale, rope.selection)


def implementation_of(rope: Rope) -> str:
    """Return the name of the implementation that attends over the bands of a pass, a key of IMPLEMENTATIONS."""
    if is_dense(rope.bands):
        return "dense"
    many = rope.query_index.shape[1] > FEW
    return "flash_bands" if many and rope.key_index.device.type == "cpu" else "blocks"
