"""Claims of papers: statements over records that can be checked, and beside them the paper's own numbers.

A file names a paper and its claims. Each compares one arm with another one, or with itself at another length, or states
a number of one arm; what is expected are bounds. The verdict comes from `lcx_lightning.results.findings`.
"""

import csv
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from omegaconf import OmegaConf
from pydantic import PositiveFloat

from lcx_lightning.results.analysis.verdicts import Bounds
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Run
from lcx_lightning.schema.checked import section
from lcx_lightning.schema.near import did_you_mean
from lcx_lightning.schema.yaml_files import read_yaml

UNVERIFIED = "(not verified)"  # numbers that nobody has found in the paper itself
IN_L = re.compile(r"([\d.]+)L")  # a value in units of the pretraining length


class Recorded(NamedTuple):
    """What runs can be, and what is measured of them: the words that claims may use."""

    methods: Collection[str]
    measures: Mapping[str, Collection[float]]  # context lengths in units of L by protocol/metric
    perplexities: Collection[str]  # those of the measures that are perplexities: two are compared by their ratio


@dataclass(frozen=True)
class Side:
    """An arm at context lengths in units of L: its method, and settings that tell it from other arms of the method.

    Attributes:
        method: Name of the method, as in records: `clex+lm_infinite` for a list.
        at: Context lengths in units of L. With several, a statement is one on all of them.
        trained_at: Training length in units of L; None: zero-shot.
        settings: Values of run.json by dotted key of its configuration, or `factor`. A value such as 0.75L is in units
            of the pretraining length.
    """

    method: str
    at: Sequence[PositiveFloat]
    trained_at: PositiveFloat | None = None
    settings: Mapping[str, Any] | None = None

    def matches(self, run: Run) -> bool:
        """Whether a run is of this arm."""
        length, trained = run.info.get("pretrain_length") or math.nan, run.info.get("train_length")
        if run.info.get("method") != self.method or (trained and trained / length) != self.trained_at:
            return False
        return all(_found(run, key) == _in_tokens(value, length) for key, value in (self.settings or {}).items())


def _found(run: Run, key: str) -> Any:
    if key == "factor":
        return run.info.get("factor")
    found: Any = run.info.get("config")
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _in_tokens(value: Any, length: float) -> Any:
    found = IN_L.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) * length if found else value


@dataclass(frozen=True)
class Expectation:
    """Bounds of what is expected: of a ratio of perplexities, a difference of other metrics, or a number itself.

    Attributes:
        above: The lower bound.
        below: The upper bound.
        within: Both bounds: 0.05 for a ratio from 1/1.05 to 1.05, or for a difference from -0.05 to 0.05.
    """

    above: float | None = None
    below: float | None = None
    within: PositiveFloat | None = None

    def bounds(self, logarithmic: bool) -> Bounds:
        """The bounds of a mean as it is recorded: logarithms of perplexities, and of ratios.

        Raises:
            ValueError: If they say nothing, or a perplexity or a ratio would not be above 0.
        """
        if logarithmic and any(end is not None and end <= 0 for end in (self.above, self.below)):
            raise ValueError("A perplexity and a ratio are above 0, and so are their bounds.")
        if self.within is not None:
            most = math.log1p(self.within) if logarithmic else self.within
            return Bounds(-most, most)
        scaled = [None if end is None else math.log(end) if logarithmic else end for end in (self.above, self.below)]
        return Bounds(
            *(end if end is not None else far for end, far in zip(scaled, (-math.inf, math.inf), strict=True))
        )

    @property
    def text(self) -> str:
        """What is expected, in words."""
        if self.within is not None:
            return f"within {self.within:g}"
        ends = {"above": self.above, "below": self.below}
        return " and ".join(f"{side} {end:g}" for side, end in ends.items() if end is not None)


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        name: Name of the claim in its file.
        claim: What the paper says, a sentence.
        source: Where it says it: table, figure or section; empty if the question is not the paper's.
        measure: protocol/metric of the records that are looked at.
        arm: The arm that the claim is about.
        against: What it is compared with; None: the claim is about its number alone.
        ratio: Whether two numbers are compared by their ratio, and not by their difference.
        expect: What is expected of the comparison or number.
        paper: The paper's own numbers, in words.
        or_at: Context lengths, in units of L, where the claim is tested on a model that has no records at those of
            `arm`; empty: nowhere else.
    """

    name: str
    claim: str
    source: str
    measure: Measure
    arm: Side
    against: Side | None
    ratio: bool
    expect: Expectation
    paper: str
    or_at: Sequence[float] = ()

    def elsewhere(self) -> "Claim":
        """The claim at the lengths of `or_at`; a side at other lengths than `arm`, such as L, stays where it is."""
        arm = replace(self.arm, at=self.or_at)
        moved = self.against is not None and self.against.at == self.arm.at
        against = replace(self.against, at=self.or_at) if self.against and moved else self.against
        return replace(self, arm=arm, against=against, or_at=())


@dataclass(frozen=True)
class Paper:
    """A paper and its claims."""

    title: str
    claims: list[Claim]


@dataclass(frozen=True)
class _Paper:
    """A file of claims as it is written; `numbers` names a CSV file beside it, with the paper's tables."""

    paper: str
    claims: Mapping[str, Mapping[str, Any]]
    numbers: str | None = None


@dataclass(frozen=True)
class _Claim:
    """A claim as it is written; `numbers` are values of columns that choose rows of the paper's table.

    Perplexities are compared by their ratio, and other numbers where `compare` says so. `or_at` are context lengths in
    units of L for models that are not measured at those of `arm`.
    """

    claim: str
    measure: str
    arm: Mapping[str, Any]
    expect: Mapping[str, Any]
    source: str = ""
    against: Mapping[str, Any] | None = None
    compare: Literal["ratio"] | None = None
    numbers: Sequence[Mapping[str, Any]] = ()
    or_at: Sequence[PositiveFloat] = ()


def read_papers(folder: Path, recorded: Recorded) -> list[Paper]:
    """Return the papers of the YAML files in a folder, by name of the file.

    Raises:
        ValueError: If there is no file, or one has none of that form, or a claim names a method, measure or length that
            nothing records, or numbers that are not in the paper's table. The message names the claim and its file.
    """
    found = [read_paper(path, recorded) for path in sorted(folder.glob("*.yaml"))]
    if not found:
        raise ValueError(f"A folder with files of claims (NAME.yaml) is needed, and {folder} holds none.")
    return found


def read_paper(path: Path, recorded: Recorded) -> Paper:
    """Return the paper of a YAML file: see `read_papers`."""
    try:
        values: dict[str, Any] = OmegaConf.to_container(read_yaml(path), resolve=True)  # pyright: ignore[reportAssignmentType]
        written = section(_Paper, values, "")
        table = _table(path.parent / written.numbers) if written.numbers else []
        return Paper(written.paper, [_claim(name, one, table, recorded) for name, one in written.claims.items()])
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _claim(name: str, values: Mapping[str, Any], table: list[dict[str, str]], recorded: Recorded) -> Claim:
    key = f"claims.{name}"
    one = section(_Claim, values, key)
    if one.measure not in recorded.measures:
        near = did_you_mean(one.measure, list(recorded.measures), "")
        raise ValueError(f"{key}.measure names {one.measure!r}, which no evaluation records.{near}")
    arm = _side(one.arm, f"{key}.arm", one.measure, recorded)
    against = _side(one.against, f"{key}.against", one.measure, recorded) if one.against else None
    if against and len(against.at) not in (1, len(arm.at)):
        raise ValueError(f"{key}.against.at needs one length, or as many as {key}.arm.at, got {list(against.at)}.")
    if one.or_at and against and against.at != arm.at and len(against.at) > 1:
        raise ValueError(f"{key}.or_at needs the lengths of {key}.against to be one, or those of {key}.arm.")
    _check_lengths(one.or_at, f"{key}.or_at", one.measure, recorded)
    expect = section(Expectation, one.expect, f"{key}.expect")
    perplexity = one.measure in recorded.perplexities
    ratio = perplexity or one.compare == "ratio"
    try:
        expect.bounds(perplexity or (ratio and against is not None))
    except ValueError as error:
        raise ValueError(f"{key}.expect needs `above`, `below` or `within`: {error}") from error
    protocol, metric = one.measure.rsplit("/", 1)
    paper = "; ".join(_number(rows, table, f"{key}.numbers.{i}") for i, rows in enumerate(one.numbers))
    return Claim(name, one.claim, one.source, Measure(protocol, metric), arm, against, ratio, expect, paper, one.or_at)


def _side(values: Mapping[str, Any], key: str, measure: str, recorded: Recorded) -> Side:
    side = section(Side, values, key)
    for method in side.method.split("+"):
        if method not in recorded.methods:
            near = did_you_mean(method, list(recorded.methods), "")
            raise ValueError(f"{key}.method names {method!r}, and there is no such method.{near}")
    _check_lengths(side.at, f"{key}.at", measure, recorded)
    return side


def _check_lengths(at: Sequence[float], key: str, measure: str, recorded: Recorded) -> None:
    lengths = recorded.measures[measure]
    if unknown := [one for one in at if lengths and one not in lengths]:
        there_are = ", ".join(f"{one:g}" for one in sorted(lengths))
        raise ValueError(f"{key} names {unknown[0]:g} L, where nothing records {measure}: there are {there_are}.")


def _number(wanted: Mapping[str, Any], table: list[dict[str, str]], key: str) -> str:
    """The value of the one row that is wanted, with its length."""
    rows = [row for row in table if all(row.get(column) == str(value) for column, value in wanted.items())]
    if len(rows) != 1:
        raise ValueError(f"{key} must choose one row of the paper's numbers, and {dict(wanted)} chooses {len(rows)}.")
    (row,) = rows
    length = f" at {row['eval_length']}" if row["eval_length"] else ""
    said = f"{row['model']} {row['method']}: {row['value']}{length}".strip()
    return said if row["verified"] == "yes" else f"{said} {UNVERIFIED}"
