"""What one layer makes of a pass: its native window, its cache, its layout, and no rotation where it has none."""

import copy
import dataclasses

from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope, Tables


def clip_to_window(rope: Rope, window: int | None) -> Rope:
    """Return `rope` for a layer that natively sees `window` tokens, the query included: every band ends there too.

    None sees everything. A window that holds all keys cuts nothing.
    """
    if window is None or (window >= rope.key_index.shape[1] and not rope.sparse):
        return rope
    kept = [i for i, band in enumerate(rope.bands) if band.min_distance < window]
    cut = copy.copy(rope)
    cut.bands = ends_at(rope.bands, window)
    cut.key_tables = [rope.key_tables[i] for i in kept]
    cut.query_tables = [rope.query_tables[i] for i in kept]
    if rope.selection is not None:
        candidates = rope.selection.candidates
        end = min(candidates.max_distance or window, window)
        cut.selection = dataclasses.replace(
            rope.selection, candidates=dataclasses.replace(candidates, max_distance=end)
        )
    return cut


def ends_at(bands: list[Band], window: int) -> list[Band]:
    """Return the bands that hold pairs at distances below `window`, each ending there at the latest."""
    near = [band for band in bands if band.min_distance < window]
    return [dataclasses.replace(band, max_distance=min(band.max_distance or window, window)) for band in near]


def keep_last_keys(rope: Rope, slots: int) -> Rope:
    """Return `rope` for a layer whose cache hands out the last `slots` keys only."""
    if slots == rope.key_index.shape[1]:
        return rope
    cut = copy.copy(rope)
    cut.key_index, cut.key_pos, cut.key_valid = (x[:, -slots:] for x in (rope.key_index, rope.key_pos, rope.key_valid))
    cut.key_tables = [Tables(table.cos[:, -slots:], table.sin[:, -slots:]) for table in rope.key_tables]
    return cut


def unrotated(rope: Rope) -> Rope:
    """Return `rope` for a layer without rotary embedding: the same bands, and no pair that turns."""
    still = copy.copy(rope)
    still.key_tables = [Tables(table.cos[..., :0], table.sin[..., :0]) for table in rope.key_tables]
    still.query_tables = [Tables(table.cos[..., :0], table.sin[..., :0]) for table in rope.query_tables]
    return still
