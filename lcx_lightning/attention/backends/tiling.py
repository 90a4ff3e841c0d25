"""Tiles of a long pass: a range of queries and the keys of a band that it can see, laid out as a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.nn.functional import pad

from lcx_lightning.attention.backends.blocks import reachable_keys
from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import Rope, Tables

BLOCK = 128  # queries that share a slice of keys; a band of w distances needs w + 127 keys for each block
QUERIES_PER_TILE = 1024  # rotated, attended and merged at a time: 2 MiB with 8 heads of 64, which fits into a CPU cache
QUERIES_PER_WIDE_TILE = 512  # if a band reaches back to the start: its masks grow with queries * keys


@dataclass(frozen=True)
class Tile:
    """A range of queries, and the keys of one band that they can see.

    A band that slides along with the queries is computed block by block: blocks become rows of a batch, and their keys
    are overlapping views. A band whose keys all queries of the tile can see is computed as a single block.

    Args:
        rope: Geometry of this pass.
        band: Index of the band in `rope.bands`.
        rows: Rows of the batch; a single row if there are several blocks.
        queries: Range of the queries.
        keys: Range of the keys that at least one of the queries can see.
        blocks: Number of blocks into which the queries are divided.
        width: Number of keys of one block.
        full: Whether every query sees every key.
    """

    rope: Rope
    band: int
    rows: slice
    queries: slice
    keys: slice
    blocks: int
    width: int
    full: bool

    def prepare(self, q: Tensor, k: Tensor, v: Tensor, at_query: Tables, at_key: Tables) -> tuple[Tensor, ...]:
        """Return rotated queries and keys, and values, each [rows * blocks, groups, tokens, dim].

        All arguments are the parts that belong to this tile. The queries of all heads of a group follow each other
        along the token dimension, so that keys are not copied for every head.
        """
        q, k = rotate(q, at_query), rotate(k, at_key)
        return self.fold_queries(q, k.shape[1]), self.fold_keys(k), self.fold_keys(v)

    def fold_queries(
        self, x: Shaped[Tensor, "rows heads queries dim"], groups: int
    ) -> Shaped[Tensor, "batch groups queries_of_heads dim"]:
        """Return `x` with blocks as rows of a batch, and the heads of a group one after the other."""
        rows, heads, queries, dim = x.shape
        x = x.reshape(rows, groups, heads // groups, self.blocks, queries // self.blocks, dim)
        return x.permute(0, 3, 1, 2, 4, 5).reshape(rows * self.blocks, groups, -1, dim)

    def unfold_queries(
        self, x: Shaped[Tensor, "batch groups queries_of_heads dim"], heads: int
    ) -> Shaped[Tensor, "rows heads queries dim"]:
        """Return the inverse of `fold_queries`."""
        batch, groups, _, dim = x.shape
        x = x.reshape(batch // self.blocks, self.blocks, groups, heads // groups, -1, dim)
        return x.permute(0, 2, 3, 1, 4, 5).reshape(batch // self.blocks, heads, -1, dim)

    def fold_keys(self, x: Tensor) -> Tensor:
        """Return blocks as rows of a batch, [rows * blocks, groups, width, dim], with zeros before the first key."""
        if self.blocks == 1:
            return x
        step = (self.queries.stop - self.queries.start) // self.blocks
        missing = self.width + (self.blocks - 1) * step - x.shape[2]
        x = pad(x, (0, 0, missing, 0)) if missing else x
        return x.unfold(2, self.width, step).permute(0, 2, 1, 4, 3).flatten(0, 1)

    def visible(self) -> Bool[Tensor, "#batch queries width"] | None:
        """Return which pairs the band holds, None if all; a single row if they are the same in every block."""
        if self.full:
            return None
        rope, band = self.rope, self.rope.bands[self.band]
        queries = [_rows(x, self.rows)[:, self.queries] for x in (rope.query_index, rope.query_pos)]
        keys = [_rows(x, self.rows)[:, self.keys] for x in (rope.key_index, rope.key_pos, rope.key_valid)]
        query, query_pos = (self.fold_queries(x[:, None, :, None], 1)[:, 0] for x in queries)
        key, key_pos, valid = (self.fold_keys(x[:, None, :, None])[:, 0].mT for x in keys)
        if self.keys.stop - self.keys.start == self.width + (self.blocks - 1) * query.shape[
            1
        ] and is_translation_invariant(rope, band):
            query, query_pos, key, key_pos, valid = (x[:1] for x in (query, query_pos, key, key_pos, valid))
        visible = band.visible(query, key, query_pos, key_pos) & valid
        return None if bool(visible.all()) else visible


def tiles(rope: Rope, batch: int, queries: int) -> Iterator[list[Tile]]:
    """Yield for each range of queries its tiles of all bands; bands in which it sees no key have none."""
    for rows, query_range in _query_ranges(rope, batch, queries):
        band_tiles = [tile for band in range(len(rope.bands)) for tile in _tiles_of(rope, band, rows, query_range)]
        if band_tiles:
            yield band_tiles


def is_translation_invariant(rope: Rope, band: Band) -> bool:
    """Return whether visibility depends only on the difference of slots, apart from limits on keys."""
    if rope.padded or band.min_apart or band.max_apart is not None:
        return False
    return bool((rope.key_index[:, -1] - rope.key_index[:, 0] == rope.key_index.shape[1] - 1).all())


def _query_ranges(rope: Rope, batch: int, queries: int) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of rows and queries: all rows of a short pass, else one row and whole blocks, or the remainder."""
    if queries <= BLOCK:
        yield slice(0, batch), slice(0, queries)
        return
    wide = any(band.max_distance is None and band.first_keys is None for band in rope.bands)
    most = max((QUERIES_PER_WIDE_TILE if wide else QUERIES_PER_TILE) // BLOCK, 1) * BLOCK
    whole = queries // BLOCK * BLOCK
    for row in range(batch):
        for start in range(0, whole, most):
            yield slice(row, row + 1), slice(start, min(start + most, whole))
        if whole < queries:
            yield slice(row, row + 1), slice(whole, queries)


def _tiles_of(rope: Rope, band: int, rows: slice, queries: slice) -> Iterator[Tile]:
    shape = rope.bands[band]
    keys = reachable_keys(shape, rope, queries)
    if keys.stop <= keys.start:
        return
    length = queries.stop - queries.start
    if shape.max_distance is not None and shape.first_keys is None and length % BLOCK == 0:
        width = BLOCK - 1 + shape.max_distance + rope.inner - shape.min_distance
        if width < keys.stop - keys.start:
            yield Tile(rope, band, rows, queries, keys, length // BLOCK, width, full=False)
            return
    first = rope.key_index.shape[1] - rope.query_index.shape[1] + queries.start  # slot of the first query
    plain = shape.max_distance is None and shape.first_keys is None and not shape.skipped_keys
    seen_by_all = (
        min(first - shape.min_distance + 1, keys.stop) if plain and is_translation_invariant(rope, shape) else 0
    )
    for start, stop, full in ((0, seen_by_all, True), (max(seen_by_all, keys.start), keys.stop, False)):
        if start < stop:
            yield Tile(rope, band, rows, queries, slice(start, stop), 1, stop - start, full)


def _rows(x: Tensor, rows: slice) -> Tensor:
    """Return some rows of a tensor that may have a single row for all."""
    return x if len(x) == 1 else x[rows]
