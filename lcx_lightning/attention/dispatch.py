"""Attention over a pass: choose the fastest backend that supports its bands, and call it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.backends.blocks import attend_blocks
from lcx_lightning.attention.backends.dense import attend_dense, is_dense
from lcx_lightning.attention.backends.flash_bands import attend_flash_bands
from lcx_lightning.attention.backends.flex_bands import attend_flex_bands
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.names import AUTO
from lcx_lightning.attention.out_of_memory import explain_out_of_memory
from lcx_lightning.attention.top_k import attend_selected
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope

DECODE_QUERIES = 16  # up to so many queries, one softmax over the logits of all bands is faster than a merge of bands
BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor, Rope, float], Tensor]] = {
    "dense": attend_dense,  # torch's fused kernels, one causal band
    "flash_bands": attend_flash_bands,  # pyright: ignore[reportAssignmentType] torch's CPU kernel, called on each band
    "blocks": attend_blocks,  # logits of one block of queries at a time, for decoding and for devices without a kernel
    "flex_bands": attend_flex_bands,  # FlexAttention, called on each band
}
REQUIREMENTS = {
    "dense": "it computes plain causal attention at true distances only",
    "flash_bands": "it runs on CPU",
    "flex_bands": "it runs on CUDA",
}


def attend(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch groups keys dim"],
    v: Float[Tensor, "batch groups keys dim"],
    forward_pass: ForwardPass[Rope],
    scale: float,
    depth: float = 1.0,
) -> Float[Tensor, "batch heads queries dim"]:
    """Return attention over the bands of a pass, and over the keys that the last query of each row selects.

    Under autocast, values have its precision, while queries and keys may not: all are converted to that of the values.

    Args:
        q: Unrotated queries.
        k: Unrotated keys.
        v: Values.
        forward_pass: This pass, as the layer sees it.
        scale: The model's own scale of the logits.
        depth: Share of the model's layers up to and including this one.

    Raises:
        ValueError: If the requested backend does not support these bands on this device.
        torch.OutOfMemoryError: If memory runs out; the message says what needed it, and what would fit.
    """
    q, k, rope = q.to(v.dtype), k.to(v.dtype), forward_pass.rope
    backend = backend_of(forward_pass)
    check_backend(backend, rope.bands, q.device.type)
    with _no_autocast(q.device.type), explain_out_of_memory(backend, q, k, rope):
        out = BACKENDS[backend](q, k, v, rope, scale)
        if rope.selection is None or depth <= rope.selection.first_layer:
            return out
        return attend_selected(out, q, k, v, rope, scale, rope.selection)


def _no_autocast(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def backend_of(forward_pass: ForwardPass[Rope]) -> str:
    """Return the name of the backend for a pass, a key of BACKENDS: the one requested, or the fastest."""
    if forward_pass.backend != AUTO:
        return forward_pass.backend
    rope = forward_pass.rope
    queries, keys, on_cpu = rope.query_index.shape[1], rope.key_index.shape[1], rope.key_index.device.type == "cpu"
    masked = forward_pass.shard is not None and queries < keys  # dense would need a mask of all pairs of a long text
    if is_dense(rope.bands) and not (masked and on_cpu):
        return "dense"
    return "flash_bands" if queries > DECODE_QUERIES and on_cpu else "blocks"


def supported_backends(bands: list[Band], device: str | None) -> list[str]:
    """Return the names of the backends that support the bands on a type of device; None stands for any device."""
    unsupported = set() if is_dense(bands) else {"dense"}
    unsupported |= set() if device in (None, "cpu") else {"flash_bands"}
    unsupported |= set() if device in (None, "cuda") else {"flex_bands"}
    return [name for name in BACKENDS if name not in unsupported]


def check_backend(name: str, bands: list[Band], device: str | None, what: str = "These bands") -> None:
    """Raise a ValueError if there is no such backend, or it does not support the bands on the device.

    Args:
        name: Name of the backend, or "auto".
        bands: Bands, as a layer sees them.
        device: Type of the device, such as "cpu"; None if not known yet.
        what: Description of the bands for the message.
    """
    if name == AUTO or name in supported_backends(bands, device):
        return
    choices = ", ".join([AUTO, *supported_backends(bands, device)])
    if name not in BACKENDS:
        raise ValueError(f"There is no attention backend called {name!r}. Choose one of {choices}.")
    where = "" if device is None else f" on {device}"
    raise ValueError(
        f"{what} cannot be computed by {name}{where}: {REQUIREMENTS[name]}. Choose one of attention={choices}."
    )
