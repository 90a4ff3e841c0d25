"""One attention function: the fastest backend that can do what a pattern asks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.backends.blocks import attend_blocks
from lcx_lightning.attention.backends.dense import attend_dense, is_dense
from lcx_lightning.attention.backends.flash_bands import attend_flash_bands
from lcx_lightning.attention.backends.flex_bands import attend_flex_bands
from lcx_lightning.attention.forward_pass import AUTO, ForwardPass
from lcx_lightning.attention.out_of_memory import explained
from lcx_lightning.attention.top_k import attend_selected
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope

FEW = 16  # queries whose logits are so small that one softmax over all bands takes less time than a merge: decoding
BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor, Rope, float], Tensor]] = {
    "dense": attend_dense,  # torch's fused kernels on one causal band
    "flash_bands": attend_flash_bands,  # pyright: ignore[reportAssignmentType] torch's CPU kernel on each band
    "blocks": attend_blocks,  # logits of a block of queries at a time: decoding, and other devices
    "flex_bands": attend_flex_bands,  # FlexAttention on each band
}
NEEDS = {
    "dense": "it attends to every earlier token at true distances",
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
    """Attend over the bands of a pass, and over what the last query of each row chooses besides.

    Under autocast values are of its precision, and queries and keys need not be: all are attended in that of values.

    Args:
        q: Unrotated.
        k: Unrotated.
        v: Values.
        forward_pass: This pass, as the layer sees it.
        scale: The model's own scale of the logits.
        depth: Share of the model's layers up to this one, itself included.

    Raises:
        ValueError: If the backend that was chosen cannot run these bands on this device.
        torch.OutOfMemoryError: If there is too little memory; it says for what, and what would fit.
    """
    q, k, rope = q.to(v.dtype), k.to(v.dtype), forward_pass.rope
    backend = backend_of(forward_pass)
    check_backend(backend, rope.bands, q.device.type)
    with _no_autocast(q.device.type), explained(backend, q, k, rope):
        out = BACKENDS[backend](q, k, v, rope, scale)
        if rope.selection is None or depth <= rope.selection.first_layer:
            return out
        return attend_selected(out, q, k, v, rope, scale, rope.selection)


def _no_autocast(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def backend_of(forward_pass: ForwardPass[Rope]) -> str:
    """Return the name of the backend of a pass, a key of BACKENDS: the user's choice, or the fastest."""
    if forward_pass.backend != AUTO:
        return forward_pass.backend
    rope = forward_pass.rope
    queries, keys, on_cpu = rope.query_index.shape[1], rope.key_index.shape[1], rope.key_index.device.type == "cpu"
    masked = forward_pass.shard is not None and queries < keys  # long texts: a mask of all pairs would outgrow all else
    if is_dense(rope.bands) and not (masked and on_cpu):
        return "dense"
    return "flash_bands" if queries > FEW and on_cpu else "blocks"


def able(bands: list[Band], device: str | None) -> list[str]:
    """Return the names of the backends that can attend over bands on a type of device, None for any."""
    unable = set() if is_dense(bands) else {"dense"}
    unable |= set() if device in (None, "cpu") else {"flash_bands"}
    unable |= set() if device in (None, "cuda") else {"flex_bands"}
    return [name for name in BACKENDS if name not in unable]


def check_backend(name: str, bands: list[Band], device: str | None, what: str = "These bands") -> None:
    """Raise a ValueError if there is no such backend, or it cannot attend over the bands on the device.

    Args:
        name: As the user gave it.
        bands: As a layer sees them.
        device: Type of device, None if it is not known yet.
        what: The pattern, in words.
    """
    if name == AUTO or name in able(bands, device):
        return
    choices = ", ".join([AUTO, *able(bands, device)])
    if name not in BACKENDS:
        raise ValueError(f"There is no attention backend called {name!r}. Choose one of {choices}.")
    where = "" if device is None else f" on {device}"
    raise ValueError(f"{what} cannot be attended by {name}{where}: {NEEDS[name]}. Choose one of attention={choices}.")
