"""How many texts are read at once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Text = TypeVar("Text")


def batches(texts: Sequence[Text], length: int, batch_tokens: int) -> Iterator[list[Text]]:
    """Yield texts of a length to be read at once."""
    rows = rows_at_once(len(texts), length, batch_tokens)
    for start in range(0, len(texts), rows or 1):
        yield list(texts[start : start + rows])


def rows_at_once(texts: int, length: int, batch_tokens: int) -> int:
    """Return how many of the texts of a length are read at once: at least one, if there is one."""
    return min(texts, max(1, batch_tokens // length))
