"""A split as a single array of tokens, so that a random slice of a random document takes microseconds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.token_cache import Encoded


class Slice(NamedTuple):
    """Tokens `start` to `start + size` (exclusive) of a document."""

    document: int  # index of the document in its `TokenStream`
    start: int  # index of the first token
    size: int  # number of tokens


class TokenStream:
    """The documents of a split that are long enough, as tokens.

    Args:
        encoded: Tokens of all documents of the split.
        minimum_tokens: Smallest number of tokens of a document; shorter ones are left out.

    Attributes:
        names: Names of the documents.
        lengths: Lengths of the documents in tokens.
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

    def row(self, rng: np.random.Generator, length: int, separator: Sequence[int]) -> Int[np.ndarray, " length"]:
        """Return a row of `length` tokens: `separator` and a random slice of a random document, until it is full."""
        return self.lay_out(self.draw_slices(rng, length, len(separator)), length, separator)

    def draw_slices(self, rng: np.random.Generator, length: int, ahead: int) -> list[Slice]:
        """Return random slices that fill a row of `length` tokens with a separator of `ahead` tokens before each slice.

        The probability of a document is proportional to its length. A slice is as long as the row has room for, so
        that a row holds a single document unless that is too short.
        """
        slices, filled, total = [], ahead, int(self.lengths.sum())
        while filled < length:
            token = rng.integers(total)
            index = int(np.searchsorted(self._ends, token, side="right"))
            size = min(int(self.lengths[index]), length - filled)
            slices.append(Slice(index, int(rng.integers(self.lengths[index] - size + 1)), size))
            filled += size + ahead
        return slices

    def lay_out(self, slices: list[Slice], length: int, separator: Sequence[int]) -> Int[np.ndarray, " length"]:
        """Return a row of `length` tokens with the given slices, and `separator` before each of them."""
        parts = [
            part for one in slices for part in (separator, self.slice(one.document, one.start, one.start + one.size))
        ]
        return np.concatenate([*parts, separator]).astype(np.int64)[:length]


def segments(slices: list[Slice], length: int, ahead: int) -> Int[np.ndarray, " length"]:
    """Return the index of the slice that each token of a row belongs to; a separator belongs to the slice after it."""
    sizes = [part.size + ahead for part in slices]
    return np.repeat(np.arange(len(sizes) + 1), [*sizes, length - sum(sizes)])
