"""One split as a single array of tokens, so that a random slice of a random document costs microseconds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.token_cache import Encoded


class Slice(NamedTuple):
    """Tokens `start` to `start + size` of a document."""

    document: int
    start: int
    size: int


class TokenStream:
    """The documents of a split as tokens, those that are long enough.

    Args:
        encoded: The documents of the split.
        minimum_tokens: Shorter documents are left out.

    Attributes:
        names: The documents' names.
        lengths: Their lengths in tokens.
    """

    def __init__(self, encoded: Encoded, minimum_tokens: int) -> None:
        kept = np.flatnonzero(encoded.lengths >= minimum_tokens)
        self.names = [encoded.names[index] for index in kept]
        self.lengths = encoded.lengths[kept]
        self._starts = (encoded.lengths.cumsum() - encoded.lengths)[kept]
        self._ends = self.lengths.cumsum()
        self._ids = encoded.ids

    def slice(self, index: int, start: int, end: int) -> Int[np.ndarray, " tokens"]:
        """Return tokens `start` to `end` (exclusive) of document `index`."""
        first = self._starts[index]
        return self._ids[first + start : first + end].astype(np.int32)

    def row(self, rng: np.random.Generator, length: int, separator: int) -> Int[np.ndarray, " length"]:
        """Return `length` tokens: `separator`, a random slice of a random document, and again until the row is full."""
        return self.laid(self.placement_seed(rng, length), length, separator)

    def placement_seed(self, rng: np.random.Generator, length: int) -> list[Slice]:
        """Return the slices of a row of `length` tokens, each with a separator before it.

        Documents are drawn in proportion to their length. A slice is as long as the row has room for, so a row holds
        one document unless that is too short.
        """
        slices, filled, total = [], 1, int(self.lengths.sum())
        while filled < length:
            token = rng.integers(total)
            index = int(np.searchsorted(self._ends, token, side="right"))
            size = min(int(self.lengths[index]), length - filled)
            slices.append(Slice(index, int(rng.integers(self.lengths[index] - size + 1)), size))
            filled += size + 1
        return slices

    def laid(self, slices: list[Slice], length: int, separator: int) -> Int[np.ndarray, " length"]:
        """Return the row of slices that were drawn for it."""
        row = np.full(length, separator, dtype=np.int64)
        filled = 1
        for index, start, size in slices:
            row[filled : filled + size] = self.slice(index, start, start + size)
            filled += size + 1
        return row


def segments(slices: list[Slice], length: int) -> Int[np.ndarray, " length"]:
    """Return for each token of a row which slice it is of: its separator stands before it, one may stand at the end."""
    sizes = [part.size + 1 for part in slices]
    return np.repeat(np.arange(len(sizes) + 1), [*sizes, length - sum(sizes)])
