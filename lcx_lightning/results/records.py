"""Records: one row per evaluated number, appended and synced at once, and the files beside them."""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lcx_lightning.results.archive import SUFFIX, unpacked
from lcx_lightning.results.metrics import Measure, Metric, from_data, undeclared
from lcx_lightning.results.naming import named
from lcx_lightning.results.stored import RESULT, ExperimentFile, check_row, check_run
from lcx_lightning.schema.files import check_values, read_json

RUN, RECORDS, EXPERIMENT = "run.json", "records.jsonl", "experiment.json"
Found = TypeVar("Found")
AWAY = "Move its folder away and run the command again."


def identity(row: Mapping[str, Any]) -> tuple:
    """Return what tells a row apart from all others: all of its keys but those of its result."""
    parts = {**row, "at": tuple(sorted(row["at"].items()))}
    return tuple(sorted((name, part) for name, part in parts.items() if name not in RESULT))


def columns_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without mappings in it: `at.layer` in place of layer in `at`, as pandas.json_normalize has it."""
    return {
        name if inner is None else f"{name}.{inner}": value
        for name, part in row.items()
        for inner, value in (part.items() if isinstance(part, dict) else [(None, part)])
    }


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
        """Name of the experiment, or of its folder."""
        return self.meta.get("name") or self.folder.resolve().name

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


def append(path: Path | str, rows: Iterable[dict]) -> None:
    """Write each row as one line at the end of the file, on disk when this returns.

    A line without an end, left by a kill or a full disk, is cut off first: its number is evaluated again by the run
    that resumes.
    """
    path = Path(path)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with _kept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        with path.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    """Name the file in an OSError, such as that of a full disk, and say that its earlier content is kept."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} could not be written to, and what it held is kept: {error}") from error


def _cut_torn_line(path: Path) -> None:
    if not _is_torn(path):
        return
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def read(path: Path | str) -> list[dict]:
    """Rows of the file, without an incomplete last line; ValueError for any other line that is not a JSON object."""
    *lines, _torn = Path(path).read_bytes().split(b"\n")
    return [_parse(line, path, number) for number, line in enumerate(lines, start=1)]


def read_rows(path: Path) -> list[dict]:
    """Rows of records.jsonl, none if there is no such file; ValueError for a row that lacks a key of a record."""
    rows = read(path) if os.path.lexists(path) else []  # a link that leads nowhere is a damaged file
    name, advice = str(path), f"Move {path.parent} away and run the arm again."
    for number, row in enumerate(rows, start=1):
        check_row(row, f"{name}, line {number}", advice)
    return rows


def _parse(line: bytes, path: Path | str, number: int) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        row = error
    if not isinstance(row, dict):
        raise ValueError(
            f"{path}, line {number}: needed one JSON object, found {line[:60]!r}. Delete the line and run the arm "
            "again: it evaluates only what is missing."
        )
    return row


def write_json(path: Path | str, value: object) -> None:
    """Write the file as a whole or not at all: a reader sees the old text or the new one, also after a kill."""
    path = Path(path)
    text = json.dumps(value, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # other machines share the folder
    with _kept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def read_experiment_file(folder: Path) -> dict[str, Any]:
    """What experiment.json in a results folder says, nothing if there is none; ValueError if it is none of that."""
    path = folder / EXPERIMENT
    if not os.path.lexists(path):
        return {}
    found = read_json(path, AWAY)
    check_values(ExperimentFile, found, str(path), AWAY)
    return found


def read_run_file(folder: Path) -> dict[str, Any]:
    """What run.json in a folder of a run says, nothing if there is none; ValueError if it is none of that."""
    path = folder / RUN
    if not os.path.lexists(path):
        return {}
    found = read_json(path, AWAY)
    check_run(found, str(path), AWAY)
    return found


def read_run(folder: Path | str) -> Run:
    """One run folder: run.json and, where it exists, records.jsonl."""
    folder = Path(folder)
    info = {"arm": folder.name, "seed": 0} | read_run_file(folder)
    rows = {identity(row): row for row in read_rows(folder / RECORDS)}
    try:
        metrics = from_data(info.get("metrics") or {})
    except ValueError as error:
        raise ValueError(f"{folder / RUN}: {error}. {AWAY}") from error
    return Run(folder, info, list(rows.values()), metrics, torn=_is_torn(folder / RECORDS))


def _is_torn(path: Path) -> bool:
    """Whether a file ends in a line without an end, as one does that is being written to."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def read_experiment(folder: Path | str) -> Experiment:
    """The experiment in a results folder, or an archive of one: all its runs, arms under names that tell them apart.

    Raises:
        ValueError: If there is none.
    """
    folder = Path(folder)
    if folder.suffix == SUFFIX and folder.is_file():
        with unpacked(folder) as files:
            return replace(read_experiment(files), folder=folder)
    meta = read_experiment_file(folder)
    order: dict[str, int] = {name: rank for rank, name in enumerate(meta.get("runs", []))}
    found = [path for path in sorted(folder.glob("*/")) if os.path.lexists(path / RUN)]
    runs = [read_run(run) for run in found if not order or run.name in order]  # others were claimed by no command
    if not runs:
        problem = "has no runs in it" if folder.is_dir() else "does not exist"
        raise ValueError(
            f"A results folder with one folder per run (run.json, records.jsonl) is needed; {folder} {problem}. "
            "Run the experiment first, or give another folder."
        )
    runs.sort(key=lambda run: (order.get(run.folder.name, 0), run.info.get("order", len(runs)), run.arm))
    runs = in_order(named(_without_doubles(runs)))
    return Experiment(folder, meta, runs)


def joined(experiments: Sequence[Experiment]) -> Experiment:
    """The runs of several experiments as one; a run that several have counts once, where it is most complete."""
    runs = _without_doubles([run for one in experiments for run in one.runs])
    return Experiment(experiments[0].folder, experiments[0].meta, in_order(named(runs)))


def in_order(runs: list[Run]) -> list[Run]:
    """The runs, arms in the order of their first runs, and those of an arm by seed."""
    ranks = {arm: rank for rank, arm in enumerate(dict.fromkeys(run.arm for run in runs))}
    return sorted(runs, key=lambda run: (ranks[run.arm], run.info["seed"]))


def _without_doubles(runs: list[Run]) -> list[Run]:
    """The runs without those that another command has under another name: of one id, the most complete counts."""
    best: dict[str, Run] = {}
    for run in runs:
        key = str(run.info.get("run") or run.folder)
        other = best.setdefault(key, run)
        if (run.finished, len(run.rows)) > (other.finished, len(other.rows)):
            best[key] = run
    return [run for run in runs if any(run is one for one in best.values())]
