"""Out-of-memory errors in attention that say what did not fit, and what would."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lcx_lightning.attention.backends.blocks import QUERY_BLOCK
from lcx_lightning.attention.backends.tiling import QUERIES_PER_TILE
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope

MASK = 8 + 2 + 4  # bytes per pair while a mask is made: distance, two comparisons, and the number added to its logit
LOGITS = 3 * 4  # bytes per pair and head: logits of each band, logits of all bands, and weights


@contextmanager
def explain_out_of_memory(backend: str, q: Tensor, k: Tensor, rope: Rope) -> Iterator[None]:
    """Replace an out-of-memory error inside this context by a torch.OutOfMemoryError with lengths, bands and advice.

    Args:
        backend: Name of the backend that is called inside.
        q: Queries, [batch, heads, queries, dim].
        k: Keys, [batch, groups, keys, dim].
        rope: Geometry of this pass.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise torch.OutOfMemoryError(_explanation(backend, q, k, rope)) from error


def bytes_needed(backend: str, q: Tensor, k: Tensor, rope: Rope, queries: int) -> int:
    """Return the approximate memory of attention in bytes, for `queries` queries, without its arguments.

    Queries and keys are rotated in float32 for each band. `dense` needs a mask of all pairs, unless the pass is the
    whole text without padding; `flash_bands` needs a mask for one tile of queries at a time. `blocks` holds the logits
    of one block of queries, or of all queries if gradients are needed. `flex_bands` needs neither.
    """
    (batch, heads, _, dim), (groups, keys) = q.shape, k.shape[1:3]
    seen, rows = min(sum(_width(band, keys) for band in rope.bands), keys), len(rope.key_valid)
    keys_read = min(queries + seen, keys)
    features = batch * dim * (heads * queries + groups * keys_read) * (4 + q.element_size()) * (1 + len(rope.bands))
    if backend == "dense":
        whole = not rope.padded and queries in (1, keys)
        return features + (0 if whole else rows * queries * keys * MASK)
    if backend == "blocks":
        at_once = queries if torch.is_grad_enabled() else min(queries, QUERY_BLOCK)
        return features + batch * heads * at_once * seen * LOGITS
    pairs = min(queries, QUERIES_PER_TILE) * seen if backend == "flash_bands" else 0
    return features + rows * pairs * MASK


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _explanation(backend: str, q: Tensor, k: Tensor, rope: Rope) -> str:
    (batch, heads, queries, _), keys = q.shape, k.shape[2]
    free = free_bytes(q.device)
    chunk = queries - 1
    while chunk and bytes_needed(backend, q, k, rope, chunk) > free // 2:  # the other layers need memory too
        chunk //= 2
    if chunk:
        advice = f"read the text in chunks of {chunk} tokens, as generate(..., prefill_chunk_size={chunk}) does"
    else:
        advice = "use fewer rows or a shorter text, because no chunk of this one fits"
    if any(_endless(band) for band in rope.bands):
        advice += "; or attach a method whose pattern has a window, such as lm_infinite or streaming_llm"
    needed = bytes_needed(backend, q, k, rope, queries)
    return (
        f"Out of memory in attention by {backend}: {queries} queries to {keys} keys in {batch} rows of {heads} "
        f"heads, over {_in_words(rope)}. This takes about {_size(needed)}, and {_size(free)} are free: {advice}."
    )


def _endless(band: Band) -> bool:
    return band.max_distance is None and band.first_keys is None


def _width(band: Band, keys: int) -> int:
    """Return the largest number of keys that a query sees in the band."""
    return min(band.max_distance or keys, band.first_keys or keys)


def _in_words(rope: Rope) -> str:
    """Return a description of the keys that the bands hold."""
    parts = []
    for band in rope.bands:
        near = "every earlier token" if _endless(band) else f"the last {band.max_distance} tokens"
        parts.append(near if band.first_keys is None else f"the first {band.first_keys} tokens")
    return " and ".join(dict.fromkeys(parts))


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
