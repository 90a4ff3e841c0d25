"""The interface of an evaluation: a model and data in, records out, in work units that survive an interruption."""

import abc
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from annotated_types import MinLen
from pydantic import PositiveFloat

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.results.metrics import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Record = dict[str, Any]
"""One evaluated number: evaluation, protocol, dataset, document, context_length, metric, value, n and `at`.

`at` is a mapping of whatever else places the number: window, position, layer, task ... `details`, if there are any, are
settings and outputs that do not tell it apart from another number.
"""


class Reading(NamedTuple):
    """Texts of one length that a model reads."""

    texts: int
    tokens: int  # of each text
    rows: int  # texts read at once
    chunk: int | None  # tokens of a pass, with a cache; None: the whole text in one pass, without a cache


@dataclass(frozen=True)
class WorkUnit:
    """The smallest amount of work that is resumed or handed to a process.

    Attributes:
        rows: What it computes, without `value` and maybe `n`. Where only the model knows how many rows there are, such
            ones as every model has: they are computed last.
        compute: Returns the complete rows.
        reads: What the model reads meanwhile, for a forecast. Empty if it reads no text.
        streams_rows: Whether the rows come out one by one, in their order. If it is interrupted, the rows that are out
            are kept, but the unit is computed from its beginning again.
        exclusive: Whether no other process of the arm may compute anything meanwhile: it measures time.
    """

    rows: list[Record]
    compute: Callable[["PreTrainedModel"], Iterable[Record]]
    reads: Sequence[Reading] = ()
    streams_rows: bool = False
    exclusive: bool = False

    @property
    def parts(self) -> int:
        """Number of parts in which its rows come out."""
        return len(self.rows) if self.streams_rows else 1

    def computed(self, model: "PreTrainedModel") -> Iterator[list[Record]]:
        """Yield the rows of each part as soon as it is computed.

        Raises:
            ValueError: If a value is not finite.
        """
        rows = map(_finite, self.compute(model))
        yield from ([row] for row in rows) if self.streams_rows else [list(rows)]


def _finite(row: Record) -> Record:
    """Return a row; ValueError if its value is no number that could be compared."""
    if not math.isfinite(row["value"]):
        raise ValueError(
            f"{row['metric']} of {row['document']} at {row['context_length']:,} tokens ({row['protocol']}) is "
            f"{row['value']}: weights or activations of the model are not finite. Look at its checkpoint; half "
            "precision overflows where float32 does not."
        )
    return row


class Evaluation(abc.ABC):
    """Score a model by one or more named protocols. All arms see the same tokens."""

    @abc.abstractmethod
    def lengths(self, pretrain_length: int) -> list[int]:
        """Return the context lengths in tokens, shortest first."""

    @abc.abstractmethod
    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        """Return what there is to compute, in contexts of at most `max_context` tokens (None: of any length).

        Nothing is computed before `WorkUnit.compute` is called.

        Raises:
            ValueError: If the data cannot serve the evaluation.
        """

    def examples_identity(self) -> str | None:
        """Return a text that changes with the examples of its tasks, None if they are all made of the corpus."""
        return None

    def metrics(self) -> dict[str, Metric]:
        """Return, by protocol/metric, how a report shows each number. One without a declaration is shown as it is."""
        return {}

    def served(self, pretrain_length: int, max_context: int | None) -> list[int]:
        """Return the context lengths of at most `max_context` tokens, shortest first."""
        return [length for length in self.lengths(pretrain_length) if max_context is None or length <= max_context]


def hash_of(*parts: Any) -> str:
    """Return 16 hexadecimal digits that change with any of the parts: plain data, and functions by their names."""
    text = json.dumps(parts, sort_keys=True, default=lambda one: getattr(one, "__qualname__", type(one).__qualname__))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


LONGEST = 2**24  # tokens of a context: more than any model reads, and few enough to write a prompt of

Multiples = Annotated[Sequence[PositiveFloat], MinLen(1)]
"""Context lengths in units of the pretraining length L."""


class AtMultiples(Evaluation):
    """An evaluation whose context lengths are multiples of the pretraining length L."""

    _multiples: list[float]  # ascending

    def lengths(self, pretrain_length: int) -> list[int]:
        found = [round(multiple * pretrain_length) for multiple in self._multiples]
        if found[-1] > LONGEST:
            raise ValueError(
                f"A context has {LONGEST:,} tokens at most, and multiples={list(self._multiples)} of the pretraining "
                f"length, {pretrain_length:,}, has {found[-1]:,}. Lower the largest of multiples."
            )
        if twice := [length for length, after in pairwise(found) if length == after]:
            raise ValueError(
                f"multiples={list(self._multiples)} of the pretraining length, {pretrain_length:,}, has {twice[0]:,} "
                "tokens twice. Give each length once."
            )
        return found


def run(
    work_units: list[WorkUnit],
    model: "PreTrainedModel",
    done: Callable[[Record], bool],
    report: Callable[[int, int], None],
    share: tuple[int, int] = (0, 1),
) -> Iterator[list[Record]]:
    """Yield the computed rows of every work unit that has rows which are not `done`.

    Args:
        work_units: What there is to compute.
        model: The model, on its device.
        done: Whether a row is known already.
        report: Is called with the number of parts done and of parts in all.
        share: Rank of this process, and number of processes that share the work units. All of them yield equally
            often, towards the end maybe nothing.
    """
    rank, ranks = share
    left = [unit for unit in work_units if not all(done(row) for row in unit.rows)]
    total = sum(unit.parts for unit in work_units)
    finished = total - sum(unit.parts for unit in left)
    for group in _groups(left, ranks):
        computed = chain.from_iterable(unit.computed(model) for unit in group[rank : rank + 1])
        for part in range(max(unit.parts for unit in group)):
            report(finished + sum(min(part, unit.parts) for unit in group), total)
            yield [row for row in next(computed, []) if not done(row)]
        finished += sum(unit.parts for unit in group)
    report(total, total)


def _groups(work_units: list[WorkUnit], ranks: int) -> list[list[WorkUnit]]:
    """Return groups of the work units that are computed at the same time."""
    groups: list[list[WorkUnit]] = []
    for unit in work_units:
        if groups and len(groups[-1]) < ranks and not (unit.exclusive or groups[-1][0].exclusive):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def starting_again(work_units: list[WorkUnit], done: Callable[[Record], bool]) -> int:
    """Return the number of streams that were interrupted, and are computed from their beginning again."""
    known = [[done(row) for row in unit.rows] for unit in work_units if unit.streams_rows]
    return sum(any(rows) and not all(rows) for rows in known)
