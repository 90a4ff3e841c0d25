"""One attention function: the fastest implementation that can do what a pattern asks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.attention.banded import attend_banded
from lcx_lightning.attention.dense import attend_dense, is_dense
from lcx_lightning.attention.flash_bands import attend_flash_bands
from lcx_lightning.attention.flex_bands import attend_flex_bands
from lcx_lightning.attention.memory import explained
from lcx_lightning.attention.rope import AUTO, Rope
from lcx_lightning.attention.selected import attend_selected
from lcx_lightning.patterns.base import Band

FEW = 16  # queries whose logits are so small that one softmax over all bands takes less time than a merge: decoding
IMPLEMENTATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Rope, float], Tensor]] = {
    "dense": attend_dense,  # torch's fused kernels on one causal band
    "flash_bands": attend_flash_bands,  # pyright: ignore[reportAssignmentType] torch's CPU kernel on each band
    "blocks": attend_banded,  # logits of a block of queries at a time: decoding, and other devices
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
    rope: Rope,
    scale: float,
    depth: float = 1.0,
) -> Float[Tensor, "batch heads queries dim"]:
    """Attend over the bands of `rope`, and over what the last query of each row chooses besides.

    Under autocast values are of its precision, and queries and keys need not be: all are attended in that of values.

    Args:
        q: Unrotated.
        k: Unrotated.
        v: Values.
        rope: Of this pass.
        scale: The model's own scale of the logits.
        depth: Share of the model's layers up to this one, itself included.

    Raises:
        ValueError: If the implementation that was chosen cannot run these bands on this device.
        torch.OutOfMemoryError: If there is too little memory; it says for what, and what would fit.
    """
    q, k = q.to(v.dtype), k.to(v.dtype)
    implementation = implementation_of(rope)
    check_implementation(implementation, rope.bands, q.device.type)
    with _no_autocast(q.device.type), explained(implementation, q, k, rope):
        out = IMPLEMENTATIONS[implementation](q, k, v, rope, scale)
        if rope.selection is None or depth <= rope.selection.first_layer:
            return out
        return attend_selected(out, q, k, v, rope, scale, rope.selection)


def _no_autocast(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def implementation_of(rope: Rope) -> str:
    """Return the name of the implementation of a pass, a key of IMPLEMENTATIONS: the user's choice, or the fastest."""
    if rope.implementation != AUTO:
        return rope.implementation
    queries, keys, on_cpu = rope.query_index.shape[1], rope.key_index.shape[1], rope.key_index.device.type == "cpu"
    masked = rope.share is not None and queries < keys  # long texts: a mask of all pairs would outgrow all else
    if is_dense(rope.bands) and not (masked and on_cpu):
        return "dense"
    return "flash_bands" if queries > FEW and on_cpu else "blocks"


def able(bands: list[Band], device: str | None) -> list[str]:
    """Return the names of the implementations that can attend over bands on a type of device, None for any."""
    unable = set() if is_dense(bands) else {"dense"}
    unable |= set() if device in (None, "cpu") else {"flash_bands"}
    unable |= set() if device in (None, "cuda") else {"flex_bands"}
    return [name for name in IMPLEMENTATIONS if name not in unable]


def check_implementation(name: str, bands: list[Band], device: str | None, what: str = "These bands") -> None:
    """Raise a ValueError if there is no such implementation, or it cannot attend over the bands on the device.

    Args:
        name: As the user gave it.
        bands: As a layer sees them.
        device: Type of device, None if it is not known yet.
        what: The pattern, in words.
    """
    if name == AUTO or name in able(bands, device):
        return
    choices = ", ".join([AUTO, *able(bands, device)])
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"There is no implementation of attention called {name!r}. Choose one of {choices}.")
    where = "" if device is None else f" on {device}"
    raise ValueError(f"{what} cannot be attended by {name}{where}: {NEEDS[name]}. Choose one of attention={choices}.")
