"""Records: one row per evaluated number, appended and synced at once, and the files beside them."""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lcx_lightning.results.archive import SUFFIX, named_in, unpacked
from lcx_lightning.results.faults import Fault, Told, telling
from lcx_lightning.results.metrics import from_data
from lcx_lightning.results.naming import named
from lcx_lightning.results.runs import Experiment, Run
from lcx_lightning.results.stored import RESULT, ExperimentFile, check_row, check_run
from lcx_lightning.schema.files import check_values, read_json

RUN, RECORDS, EXPERIMENT = "run.json", "records.jsonl", "experiment.json"
AWAY = "Move its folder away and run the command again."


def identity(row: Mapping[str, Any]) -> tuple:
    """Return what tells a row apart from all others: all of its keys but those of its result."""
    at = tuple(sorted(row["at"].items()))
    return tuple([(name, at if name == "at" else row[name]) for name in _telling_apart(tuple(row))])


@lru_cache
def _telling_apart(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those keys of a row that tell it apart, in an order that does not depend on theirs."""
    return tuple(sorted(key for key in keys if key not in RESULT))


def columns_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without mappings in it: `at.layer` in place of layer in `at`, as pandas.json_normalize has it."""
    return {
        name if inner is None else f"{name}.{inner}": value
        for name, part in row.items()
        for inner, value in (part.items() if isinstance(part, dict) else [(None, part)])
    }


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
    return [_parse(line, path, number) for number, line in enumerate(_lines(path), start=1)]


def read_rows(path: Path, told: Callable[[str], object] | None = None) -> list[dict]:
    """Rows of records.jsonl, none if there is no such file.

    `told`: is told of each line that is no record, which is left out. None: such a line is a ValueError.
    """
    lines = _lines(path) if os.path.lexists(path) else []  # a link that leads nowhere is a damaged file
    rows, name = [], str(path)
    for number, line in enumerate(lines, start=1):
        try:
            row = _parse(line, path, number)
            check_row(row, f"{name}, line {number}", AWAY)
        except ValueError as error:
            if told is None:
                raise
            told(str(error))
        else:
            rows.append(row)
    return rows


def _lines(path: Path | str) -> list[bytes]:
    """The lines of a file but for one without an end."""
    return Path(path).read_bytes().split(b"\n")[:-1]


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


def read_run(folder: Path | str, told: Told | None = None) -> Run:
    """One run folder: run.json and, where it exists, records.jsonl.

    Args:
        folder: The folder.
        told: Is told of lines that are no records, if others are. None: such a line is an error.

    Raises:
        ValueError: If run.json or a line of the records is damaged.
        OSError: If a file cannot be read.
    """
    folder, bad = Path(folder), list[str]()
    info = {"arm": folder.name, "seed": 0} | read_run_file(folder)
    rows = {identity(row): row for row in read_rows(folder / RECORDS, bad.append if told else None)}
    if bad and not rows:
        raise ValueError(bad[0])
    if bad and told:
        said = f"{len(bad):,} {'line is no record' if len(bad) == 1 else 'lines are no records'}, and left out:"
        told(Fault(str(folder), f"{said} {bad[0]}"))
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


def read_experiment(folder: Path | str, told: Told | None = None) -> Experiment:
    """The experiment in a results folder, or an archive of one: all its runs, arms under names that tell them apart.

    Args:
        folder: The folder, or the archive.
        told: Is told of what is damaged, and the rest is read. None: what is damaged is an error.

    Raises:
        ValueError: If there is none, or all of its runs are damaged.
    """
    folder = Path(folder)
    if folder.suffix == SUFFIX and folder.is_file():
        with unpacked(folder) as files:
            return replace(_read_experiment(files, told and (lambda one: told(_of(folder, files, one)))), folder=folder)
    return _read_experiment(folder, told)


def _of(archive: Path, files: Path, fault: Fault) -> Fault:
    """A fault of the files of an archive: it names the archive."""
    return fault._replace(**{name: named_in(archive, files, getattr(fault, name)) for name in ("place", "reason")})


def _read_experiment(folder: Path, told: Told | None) -> Experiment:
    meta: dict[str, Any] = {}
    with telling(told, folder / EXPERIMENT):
        meta = read_experiment_file(folder)
    order: dict[str, int] = {name: rank for rank, name in enumerate(meta.get("runs", []))}
    found = [path for path in sorted(folder.glob("*/")) if os.path.lexists(path / RUN)]
    runs: list[Run] = []
    for path in found:
        if not order or path.name in order:  # others were claimed by no command
            with telling(told, path):
                runs.append(read_run(path, told))
    if not runs:
        problem = "has no run that can be read" if found and told else "has no runs in it"
        raise ValueError(
            "A results folder with one folder per run (run.json, records.jsonl) is needed; "
            f"{folder} {problem if folder.is_dir() else 'does not exist'}. "
            "Run the experiment first, or give another folder."
        )
    runs.sort(key=lambda run: (order.get(run.folder.name, 0), run.info.get("order", len(runs)), run.arm))
    return Experiment(folder, meta, in_order(named(_without_doubles(runs))))


def joined(experiments: Sequence[Experiment]) -> Experiment:
    """The runs of several experiments as one; a run that several have counts once, where it is most complete.

    Of experiments with different names nothing stays that is said of one of them, such as its question.
    """
    runs = _without_doubles([run for one in experiments for run in one.runs])
    first, meta = experiments[0], experiments[0].meta
    if len({one.name for one in experiments}) > 1:
        meta = {"protocols": [*dict.fromkeys(name for one in experiments for name in one.meta.get("protocols") or ())]}
    return Experiment(first.folder, meta, in_order(named(runs)))


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
