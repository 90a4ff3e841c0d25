"""What ran where: machines, versions and commits with the time spent there, and the cells without a result."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lcx_lightning.results.places import Places
from lcx_lightning.results.records import RECORDS, RUN, Experiment, Run
from lcx_lightning.results.report.dashboard.arms import SHORT, missing
from lcx_lightning.results.report.labels import NOT_EVALUATED, seconds_text
from lcx_lightning.results.report.tables import Cell, Table


def machines(experiment: Experiment) -> Table:
    """Machines, versions and commits, with the runs and the time spent there."""
    places: dict[tuple[str, str, str], list[Run]] = {}
    for run in experiment.runs:
        for one in run.info.get("computed_by") or [{}]:
            commit = str(one.get("git_commit") or NOT_EVALUATED)[:SHORT]
            place = (_joined(one.get("hardware")), _joined(one.get("versions")), commit)
            places.setdefault(place, []).append(run)
    rows = [
        [*place, str(len(runs)), _sum(_wall(run.info) for run in runs), _sum(_device(run.info) for run in runs)]
        for place, runs in places.items()
    ]
    header = ["hardware", "versions", "commit", "runs", "wall time", "device time"]
    note = "A run that several have worked on counts in each of their lines."
    return Table("Machines", header, [[Cell(text) for text in row] for row in rows], [note] * (len(rows) > 1))


def cells_without_result(experiment: Experiment, places: Places) -> Table | None:
    """Runs that have failed, wait, were stopped or skipped, what is damaged or not there, and lengths left out."""
    rows = [[fault.place, NOT_EVALUATED, fault.state, fault.reason] for fault in places.faults]
    damaged = {fault.place for fault in places.faults}
    for run in experiment.runs:
        where = [run.arm, str(run.info["seed"])]
        if not run.finished:
            rows.append([*where, run.info.get("state", "unknown"), run.info.get("reason") or "no reason recorded"])
        if run.torn:
            rows.append(
                [*where, "half-written", f"{run.folder.name}/{RECORDS} ends in a row that is not whole: it is left out"]
            )
        for length, reason in (run.info.get("not_evaluated") or {}).items():
            rows.append([*where, f"length {length} left out", reason])
    for source in places.experiments:
        for name in missing(source):
            folder = source.folder / name
            if str(folder) not in damaged:
                said = "its folder has lost run.json" if _has_records(folder) else "it has not begun"
                rows.append([name, NOT_EVALUATED, "not there", f"{source.name} has asked for it, and {said}"])
    if not rows:
        return None
    header = ["arm or place", "seed", "state", "reason"]
    return Table("Cells without a result", header, [[Cell(text) for text in row] for row in rows], [], sentences=True)


def _has_records(folder: Path) -> bool:
    return (folder / RECORDS).exists()


def runs_of(experiment: Experiment, folder: Path) -> list[dict[str, Any]]:
    """Every run, with links to its files where they are beside the page."""
    return [
        _run(run, number, folder) for number, arm in enumerate(experiment.arms()) for run in experiment.runs_of(arm)
    ]


def _run(run: Run, number: int, folder: Path) -> dict[str, Any]:
    info, place = run.info, Path(os.path.relpath(run.folder, folder)).as_posix()
    files = [name for name in (RUN, RECORDS) if (run.folder / name).exists()]
    return {
        "arm": run.arm,
        "number": number,
        "seed": info["seed"],
        "state": f"{info.get('state', 'unknown')}{': ' + info['reason'] if info.get('reason') else ''}",
        "factor": info.get("factor") or NOT_EVALUATED,
        "trained_at": info.get("train_length") or "none",
        "fingerprint": str(info.get("fingerprint") or NOT_EVALUATED)[:SHORT],
        "wall": _sum([_wall(info)]),
        "device": _sum([_device(info)]),
        "files": {name: quote(f"{place}/{name}") for name in files},
    }


def _joined(facts: Mapping[str, Any] | None) -> str:
    known = {key: value for key, value in (facts or {}).items() if value is not None}
    return ", ".join(f"{key} {value}" for key, value in known.items()) or NOT_EVALUATED


def _wall(info: Mapping[str, Any]) -> float | None:
    seconds = info.get("seconds")
    return sum(seconds.values()) if seconds else None


def _device(info: Mapping[str, Any]) -> float | None:
    found = info.get("device_seconds")
    return float(found) if isinstance(found, int | float) else None


def _sum(values: Any) -> str:
    known = [value for value in values if value is not None]
    return seconds_text(sum(known)) if known else NOT_EVALUATED
