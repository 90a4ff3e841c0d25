"""One split as a single array of tokens, so that a random slice of a random document costs microseconds."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.corpus import Document
from lcx_lightning.data.tokens import Tokens


class Slice(NamedTuple):
    """Tokens `start` to `start + size` of a document."""

    document: int
    start: int
    size: int


class TokenStream:
    """The documents of a split, tokenised and laid end to end without separators.

    Attributes:
        names: The documents' names.
        lengths: Their lengths in tokens.
    """

    def __init__(self, documents: Iterable[Document], tokens: Tokens) -> None:
        encoded = [(d.name, np.asarray(tokens.encode(d.text), dtype=np.int32)) for d in documents]
        self.names = [name for name, _ in encoded]
        self.lengths = np.array([len(ids) for _, ids in encoded], dtype=np.int64)
        self._ends = self.lengths.cumsum()
        self._ids = np.concatenate([np.empty(0, np.int32), *(ids for _, ids in encoded)])

    def slice(self, index: int, start: int, end: int) -> Int[np.ndarray, " tokens"]:
        """Return tokens `start` to `end` (exclusive) of document `index`."""
        first = self._ends[index] - self.lengths[index]
        return self._ids[first + start : first + end]

    def row(self, rng: np.random.Generator, length: int, separator: int) -> Int[np.ndarray, " length"]:
        """Return `length` tokens: `separator`, a random slice of a random document, and again until the row is full."""
        return self.laid(self.draw(rng, length), length, separator)

    def draw(self, rng: np.random.Generator, length: int) -> list[Slice]:
        """Return the slices of a row of `length` tokens, each with a separator before it.

        Documents are drawn in proportion to their length. A slice is as long as the row has room for, so a row holds
        one document unless that is too short.
        """
        slices, filled = [], 1
        while filled < length:
            token = rng.integers(len(self._ids))
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
