"""The interface of an evaluation: a model and data in, rows of records out, in pieces that survive an interruption."""

import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from lcx_lightning.data.dataset import LongContextData

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Record = dict[str, Any]  # evaluation, protocol, dataset, document, window, context_length, metric, value, n


@dataclass(frozen=True)
class WorkUnit:
    """Rows that one batch yields: without `value` until they are computed.

    A gradual piece takes long, and its rows come out one by one in their order; if it is cut short, those that are
    known stay, but it is computed from its beginning. While a piece that stands alone is computed, no other process of
    the arm computes anything: it measures time.
    """

    rows: list[Record]
    compute: Callable[["PreTrainedModel"], Iterable[Record]]
    streams_rows: bool = False
    exclusive: bool = False

    @property
    def parts(self) -> int:
        """Parts in which its rows come out."""
        return len(self.rows) if self.streams_rows else 1

    def computed(self, model: "PreTrainedModel") -> Iterator[list[Record]]:
        """Yield the rows of each part as soon as it is computed."""
        rows = self.compute(model)
        yield from ([row] for row in rows) if self.streams_rows else [list(rows)]


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
    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        """Return what there is to compute, in contexts no longer than `reach` tokens (None: all).

        Raises:
            ValueError: If the data cannot serve the evaluation.
        """

    @abc.abstractmethod
    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        """Return what the pieces read."""

    def served(self, pretrain_length: int, max_context: int | None) -> list[int]:
        """Return the context lengths that are no longer than `reach`, shortest first."""
        return [length for length in self.lengths(pretrain_length) if max_context is None or length <= max_context]


class AtMultiples(Evaluation):
    """An evaluation whose context lengths are multiples of the pretraining length L."""

    _multiples: list[float]  # ascending

    def lengths(self, pretrain_length: int) -> list[int]:
        return [round(multiple * pretrain_length) for multiple in self._multiples]


def run(
    work_units: list[WorkUnit],
    model: "PreTrainedModel",
    done: Callable[[Record], bool],
    report: Callable[[int, int], None],
    share: tuple[int, int] = (0, 1),
) -> Iterator[list[Record]]:
    """Yield the computed rows of every piece that has rows which are not `done`; report parts done and in all.

    Args:
        pieces: What there is to compute.
        model: On its device.
        done: Whether a row is known.
        report: Receives the progress.
        share: Rank of this process, and how many share the pieces. All yield equally often, at last maybe nothing.
    """
    rank, ranks = share
    left = [unit for unit in work_units if not all(done(row) for row in unit.rows)]
    total = sum(unit.parts for unit in work_units)
    known = total - sum(unit.parts for unit in left)
    for together in _groups(left, ranks):
        own = chain.from_iterable(unit.computed(model) for unit in together[rank : rank + 1])
        for part in range(max(unit.parts for unit in together)):
            report(known + sum(min(part, unit.parts) for unit in together), total)
            yield [row for row in next(own, []) if not done(row)]
        known += sum(unit.parts for unit in together)
    report(total, total)


def _groups(work_units: list[WorkUnit], ranks: int) -> list[list[WorkUnit]]:
    """Return the pieces that are computed at the same time."""
    groups: list[list[WorkUnit]] = []
    for unit in work_units:
        if groups and len(groups[-1]) < ranks and not (unit.exclusive or groups[-1][0].exclusive):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def starting_again(work_units: list[WorkUnit], done: Callable[[Record], bool]) -> int:
    """Return the number of gradual pieces that were cut short, and are computed from their beginning."""
    known = [[done(row) for row in unit.rows] for unit in work_units if unit.streams_rows]
    return sum(any(rows) and not all(rows) for rows in known)
