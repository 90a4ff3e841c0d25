"""Runs and experiments, as a report has them in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from lcx_lightning.results.metrics import Measure, Metric, undeclared

Found = TypeVar("Found")
NAMES = 3  # of experiments, that are said of several


@dataclass(frozen=True)
class Run:
    """One arm at one seed: its folder, its run.json, its rows, and the metrics that its evaluations declare.

    Of rows with the same identity the last one counts. Metrics are by protocol/metric.
    """

    folder: Path
    info: dict
    rows: list[dict]
    metrics: dict[str, Metric]
    name: str = ""  # of the arm among others; empty: as run.json has it
    torn: bool = False  # whether records.jsonl ends in a line without an end, which is left out

    @property
    def arm(self) -> str:
        """Display name of the arm."""
        return self.name or self.info["arm"]

    @property
    def finished(self) -> bool:
        """Whether every evaluation of the run is done."""
        return self.info.get("state") == "finished"

    def metric(self, measure: Measure) -> Metric:
        """How a measure is shown."""
        return self.metrics.get(measure.key) or undeclared(measure.metric)


@dataclass(frozen=True)
class Experiment:
    """A results folder: experiment.json and the runs, in the order in which commands have asked for them.

    `part` says what runs have in common, if they are only those of the folder that can be compared.
    """

    folder: Path
    meta: dict
    runs: list[Run]
    part: str = ""
    derived: dict = field(default_factory=dict, init=False, repr=False, compare=False)  # what was computed of the runs

    def once(self, key: tuple, compute: Callable[[], Found]) -> Found:
        """What a computation on the runs returns, which is done once: the result is shared, and not to be changed."""
        if key not in self.derived:
            self.derived[key] = compute()
        return self.derived[key]

    @property
    def name(self) -> str:
        """Name of the experiment; of several, those that its runs are of; else that of its folder."""
        if name := self.meta.get("name"):
            return name
        names = [*dict.fromkeys(str(run.info["experiment"]) for run in self.runs if run.info.get("experiment"))]
        more = [f"{len(names) - NAMES} more"] if len(names) > NAMES else []
        return " + ".join([*names[:NAMES], *more]) or self.folder.resolve().name

    def arms(self) -> list[str]:
        """Names of the arms in the order of the grid."""
        return list(self._by_arm)

    def runs_of(self, arm: str) -> list[Run]:
        """Runs of one arm, by seed."""
        return [*self._by_arm.get(arm, ())]

    @cached_property
    def _by_arm(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.arm, []).append(run)
        return found

    def seeds(self) -> list[int]:
        """Seeds that any arm has, ascending."""
        return sorted({run.info.get("seed", 0) for run in self.runs})

    def metric(self, measure: Measure) -> Metric:
        """How a measure is shown: as the first run declares it."""
        declared = (run.metrics[measure.key] for run in self.runs if measure.key in run.metrics)
        return next(declared, None) or undeclared(measure.metric)

    def measures(self) -> list[Measure]:
        """What was measured, protocols in the order of experiment.json. If nothing was yet, what was to be first."""
        return [*self._measures]

    @cached_property
    def _measures(self) -> list[Measure]:
        every = dict.fromkeys((row["protocol"], row["metric"]) for run in self.runs for row in run.rows)
        seen = [Measure(*one) for one in every]
        named: list[str] = list(self.meta.get("protocols") or ())
        found = sorted(seen, key=lambda m: named.index(m.protocol) if m.protocol in named else len(named))
        to_be = (Measure(*key.rsplit("/", 1)) for run in self.runs for key in run.metrics)
        return found or [Measure(protocol) for protocol in named] or [*to_be][:1]
