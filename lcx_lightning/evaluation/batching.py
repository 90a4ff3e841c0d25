"""Batches of texts, of a given number of tokens at most."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from lcx_lightning.evaluation.base import Reading

Text = TypeVar("Text")


def batches(texts: Sequence[Text], length: int, batch_tokens: int) -> Iterator[list[Text]]:
    """Yield the texts, each of `length` tokens, in batches of at most `batch_tokens`, but at least one text."""
    rows = rows_at_once(len(texts), length, batch_tokens)
    for start in range(0, len(texts), rows or 1):
        yield list(texts[start : start + rows])


def one_batch(texts: Sequence[object], length: int, chunk: int | None = None) -> list[Reading]:
    """Return what a model reads of texts of one length that make one batch."""
    return [Reading(len(texts), length, len(texts), chunk)]


def rows_at_once(texts: int, length: int, batch_tokens: int) -> int:
    """Return the number of texts in a full batch: at least one, if there is one."""
    return min(texts, max(1, batch_tokens // length))
