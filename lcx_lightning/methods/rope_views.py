"""The `Rope` of a pass as one layer sees it: within its native window, over the keys of its cache, or unrotated."""

import copy
import dataclasses

from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope, Tables


def clip_to_window(rope: Rope, window: int | None) -> Rope:
    """Return `rope` for a layer that natively sees `window` tokens, the query included: no band reaches farther.

    None is a layer without a native window. A window that holds all keys changes nothing.
    """
    if window is None or (window >= rope.key_index.shape[1] and not rope.sparse):
        return rope
    kept = [i for i, band in enumerate(rope.bands) if band.min_distance < window]
    cut = copy.copy(rope)
    cut.bands = clip_bands(rope.bands, window)
    cut.key_tables = [rope.key_tables[i] for i in kept]
    cut.query_tables = [rope.query_tables[i] for i in kept]
    if rope.selection is not None:
        candidates = rope.selection.candidates
        end = min(candidates.max_distance or window, window)
        cut.selection = dataclasses.replace(
            rope.selection, candidates=dataclasses.replace(candidates, max_distance=end)
        )
    return cut


def clip_bands(bands: list[Band], window: int) -> list[Band]:
    """Return the bands that hold pairs at distances below `window`, without the pairs at larger distances."""
    near = [band for band in bands if band.min_distance < window]
    return [dataclasses.replace(band, max_distance=min(band.max_distance or window, window)) for band in near]


def keep_last_keys(rope: Rope, slots: int) -> Rope:
    """Return `rope` for a layer whose cache returns the last `slots` keys only."""
    if slots == rope.key_index.shape[1]:
        return rope
    cut = copy.copy(rope)
    cut.key_index, cut.key_pos, cut.key_valid = (x[:, -slots:] for x in (rope.key_index, rope.key_pos, rope.key_valid))
    cut.key_tables = [Tables(table.cos[:, -slots:], table.sin[:, -slots:]) for table in rope.key_tables]
    return cut


def unrotated(rope: Rope) -> Rope:
    """Return `rope` for a layer without rotary embedding: the same bands, and no rotation."""
    still = copy.copy(rope)
    still.key_tables = [Tables(table.cos[..., :0], table.sin[..., :0]) for table in rope.key_tables]
    still.query_tables = [Tables(table.cos[..., :0], table.sin[..., :0]) for table in rope.query_tables]
    return still
