"""The interface of an evaluation: a model and data in, rows of records out, in pieces that survive an interruption."""

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lcx_lightning.data.source import LongContextData

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Record = dict[str, Any]  # evaluation, protocol, dataset, document, window, context_length, metric, value, n


@dataclass(frozen=True)
class Piece:
    """Rows that one batch yields: without `value` until they are computed."""

    rows: list[Record]
    compute: Callable[["PreTrainedModel"], list[Record]]


class Reading(NamedTuple):
    """Texts of one length that an evaluation reads."""

    texts: int
    tokens: int  # of each
    rows: int  # texts read at once
    chunk: int | None  # tokens read at once, into a cache; None: the whole text, without one


class Evaluation(abc.ABC):
    """Score a model by one or more named protocols. All arms see the same tokens."""

    @abc.abstractmethod
    def lengths(self, pretrain_length: int) -> list[int]:
        """Return the context lengths in tokens, shortest first."""

    @abc.abstractmethod
    def pieces(self, data: LongContextData, pretrain_length: int, reach: int | None) -> list[Piece]:
        """Return what there is to compute, in contexts no longer than `reach` tokens (None: all).

        Raises:
            ValueError: If the data cannot serve the evaluation.
        """

    @abc.abstractmethod
    def readings(self, pretrain_length: int, reach: int | None) -> list[Reading]:
        """Return what the pieces read."""

    def served(self, pretrain_length: int, reach: int | None) -> list[int]:
        """Return the context lengths that are no longer than `reach`, shortest first."""
        return [length for length in self.lengths(pretrain_length) if reach is None or length <= reach]


def run(
    pieces: list[Piece],
    model: "PreTrainedModel",
    done: Callable[[Record], bool],
    report: Callable[[int, int], None],
    share: tuple[int, int] = (0, 1),
) -> Iterator[list[Record]]:
    """Yield the computed rows of every piece that has rows which are not `done`; report pieces done and in all.

    Args:
        pieces: What there is to compute.
        model: On its device.
        done: Whether a row is known.
        report: Receives the progress.
        share: Rank of this process, and how many share the pieces. All yield equally often, at last maybe nothing.
    """
    rank, ranks = share
    left = [piece for piece in pieces if not all(done(row) for row in piece.rows)]
    for begin in range(0, len(left), ranks):
        report(len(pieces) - len(left) + begin, len(pieces))
        own = left[begin + rank : begin + rank + 1]
        yield [row for piece in own for row in piece.compute(model) if not done(row)]
    report(len(pieces), len(pieces))
