"""What a results folder and a cache hold: runs with their states, cached stages, and sizes on disk."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lcx_lightning.results import records
from lcx_lightning.results.naming import named
from lcx_lightning.schema.near import did_you_mean

LOCK = ".lock"  # in the folder of a run: held while the run is computed
HOLDER = ".holder"  # beside it: by which process
STAGES = ("base", "extend", "tokens", "hashes")  # folders of a cache
LISTED = {"base": "stage.json", "extend": "stage.json", "tokens": "documents.json"}  # what is in a finished stage
ENTRY = re.compile(r"[0-9a-f]{12,32}")  # name of a finished stage
ENDED = ("finished", "skipped")


@dataclass(frozen=True)
class FoundRun:
    """A folder of one arm at one seed, or the place of one that is not there yet."""

    folder: Path
    arm: str
    seed: int | None
    state: str  # of run.json; running only if a process computes it now; damaged; not begun
    reason: str
    size: int  # bytes
    changed: float | None  # seconds since 1970; None if there is nothing
    info: dict[str, Any]  # run.json


@dataclass(frozen=True)
class FoundExperiment:
    """A folder of runs, or some of the runs in it."""

    folder: Path
    runs: list[FoundRun]  # by rank in the grid, then by seed
    command: str | None  # the last that ran under its name
    size: int  # bytes, figures and page included
    whole: bool = True  # whether all of the folder is meant

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def changed(self) -> float | None:
        """Seconds since 1970 at the last change of a run."""
        return max((run.changed for run in self.runs if run.changed is not None), default=None)

    def counts(self) -> dict[str, int]:
        """Return the number of runs by state, finished ones first."""
        states = [run.state for run in self.runs]
        return {state: states.count(state) for state in sorted(set(states), key=lambda s: (s != "finished", s))}


@dataclass(frozen=True)
class Entry:
    """A folder or file in a cache."""

    path: Path
    stage: str  # one of STAGES
    state: str  # finished, unfinished, aside, lock
    size: int  # bytes

    @property
    def name(self) -> str:
        """Its path inside the cache, without what tells its state: `extend/05651aeee644`."""
        return f"{self.stage}/{self.path.name.partition('.')[0]}"

    @property
    def lock(self) -> Path:
        """The file that is locked while the entry is made."""
        return self.path.with_suffix(".lock")


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return (folder / "run.json").is_file()


def is_experiment(folder: Path) -> bool:
    """Return whether a folder holds runs, or says which it is to hold."""
    return (folder / "experiment.json").is_file() or any(map(is_run, _folders_in(folder)))


def experiments_in(results: Path) -> list[FoundExperiment]:
    """Return the experiments in a results folder, by name."""
    return [read_experiment(folder) for folder in _folders_in(results) if is_experiment(folder)]


def find_runs(name: str | Path, results: Path) -> FoundExperiment:
    """Return an experiment, or of its runs one, or those of an arm.

    Args:
        name: Folder of an experiment or of a run; or an experiment in `results`; or either with the name of an arm
            behind it, as in `quickstart/clex`.
        results: Folder of experiments.

    Raises:
        ValueError: If there is no such one; the message says what there is.
    """
    places = list(dict.fromkeys([Path(name), results / name]))
    for place in places:
        if is_experiment(place):
            return read_experiment(place)
        if is_run(place):
            return replace(read_experiment(place.parent), runs=[read_run(place)], whole=False)
    arms: list[tuple[str, Path]] = []  # with the experiment ahead of each
    for place in (place for place in places if not place.is_dir()):
        above = next((folder for folder in place.parents if folder.is_dir()), place)
        arms += [(place.relative_to(above).as_posix(), above)] if is_experiment(above) else []
    if arms:
        arm, folder = min(arms, key=lambda one: len(one[0]))
        return _of_arm(read_experiment(folder), arm)
    if Path(name).is_dir():
        raise ValueError(f"The folder {name} holds neither run.json nor experiment.json: it is none of lcx.")
    known = [folder.name for folder in _folders_in(results) if is_experiment(folder)]
    raise ValueError(f"There is no experiment {str(name)!r} in {results}.{_hint(str(name), known)}")


def find_experiment(name: str | Path, results: Path) -> FoundExperiment:
    """Return an experiment with all of its runs; see `find_runs`.

    Raises:
        ValueError: If there is no such one, or the name is that of a run or arm.
    """
    found = find_runs(name, results)
    if not found.whole:
        raise ValueError(f"{name} is an arm of {found.folder}: name the experiment.")
    return found


def _of_arm(experiment: FoundExperiment, arm: str) -> FoundExperiment:
    """Return the runs of an arm."""
    runs = [run for run in experiment.runs if run.arm == arm]
    if not runs:
        names = list(dict.fromkeys(run.arm for run in experiment.runs))
        raise ValueError(f"There is no arm {arm!r} in {experiment.folder}.{_hint(arm, names)}")
    return replace(experiment, runs=runs, whole=False)


def read_experiment(folder: Path) -> FoundExperiment:
    """Return the runs of an experiment. A file that cannot be read is the state of its run, and raises nothing."""
    about = _read(folder / "experiment.json")
    runs = [read_run(one) for one in _folders_in(folder) if is_run(one)]
    there, planned = {run.folder.name for run in runs}, about.get("runs")
    for name in planned if isinstance(planned, list) else []:
        if isinstance(name, str) and name not in there:
            runs.append(FoundRun(folder / name, name, None, "not begun", "", 0, None, {}))
    commands = about.get("commands")
    command = commands[-1] if isinstance(commands, list) and commands else None
    return FoundExperiment(folder, sorted(_with_names(runs), key=_rank), command and str(command), size_of(folder))


def read_run(folder: Path) -> FoundRun:
    """Return what a run is and how far it is. If run.json cannot be read, its state is damaged."""
    size = size_of(folder)
    try:
        changed = max(path.stat().st_mtime for path in folder.iterdir() if path.name not in (LOCK, HOLDER))
        info = records.read_json(folder / "run.json")
        arm, seed, state = info["arm"], info["seed"], info["state"]
        if not isinstance(arm, str) or not isinstance(seed, int) or not isinstance(state, str):
            raise ValueError(f"{folder / 'run.json'}: arm={arm!r}, seed={seed!r}, state={state!r} make no sense.")
    except (ValueError, KeyError, OSError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        said = said if str(folder) in said else f"{folder / 'run.json'}: {said}"
        return FoundRun(folder, folder.name, None, "damaged", said, size, None, {})
    reason = str(info.get("reason") or "")
    if state == "running" and not is_held(folder / LOCK):
        state, reason = "interrupted", "it was killed: the same command goes on"
    return FoundRun(folder, arm, seed, state, reason, size, changed, info)


def entries_in(cache: Path) -> list[Entry]:
    """Return what a cache holds, by stage and name; files and links that are none of a cache's are left out."""
    found = []
    for stage in STAGES:
        for path in sorted((cache / stage).iterdir()) if (cache / stage).is_dir() else []:
            if state := _state_of(path, stage):
                found.append(Entry(path, stage, state, size_of(path)))
    return found


def _state_of(path: Path, stage: str) -> str | None:
    """Return what an entry of a cache is, None if it is none of a cache."""
    name, is_folder = path.name, path.is_dir()
    if path.is_symlink():
        return None
    if is_folder and name == "aside":
        return "aside"
    if not ENTRY.fullmatch(name.partition(".")[0]):
        return None
    if stage == "hashes":
        return None if is_folder else "finished"
    if "." in name:
        kinds = {(True, ".work"): "unfinished", (False, ".lock"): "lock"}
        return kinds.get((is_folder, path.suffix))
    return "finished" if (path / LISTED[stage]).is_file() else None


def is_held(lock: Path) -> bool:
    """Return whether another process holds a lock; a file that is not there is held by none."""
    if not lock.is_file():
        return False
    mine = FileLock(lock)
    try:
        mine.acquire(blocking=False)
    except (Timeout, PermissionError):  # another user's may be held by anyone
        return True
    mine.release()
    return False


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links count as nothing."""
    if path.is_symlink():
        return 0
    try:
        if path.is_file():
            return path.stat().st_size
        return sum(size_of(inner) for inner in path.iterdir())
    except OSError:  # gone, or not to be read
        return 0


def _hint(name: str, names: list[str]) -> str:
    """Return a sentence on names that are like one, or else on all that there are."""
    return did_you_mean(name, names) or (f" There are: {', '.join(names)}." if names else "")


def _with_names(runs: list[FoundRun]) -> list[FoundRun]:
    """Return the runs under the names that a report gives their arms."""
    whole = [records.Run(run.folder, run.info, [], {}) for run in runs if run.info]
    try:
        names = {run.folder: run.arm for run in named(whole)}
    except (AttributeError, TypeError):  # a configuration with values of other types
        return runs
    return [replace(run, arm=names.get(run.folder, run.arm)) for run in runs]


def _folders_in(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder by name, but for links, hidden ones, and those put aside."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.is_symlink() and not path.name.startswith(".") and path.name != "aside":
            yield path


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object, an empty one if it cannot be read."""
    try:
        return records.read_json(path) if path.is_file() else {}
    except (ValueError, OSError, RecursionError):
        return {}


def _rank(run: FoundRun) -> tuple[Any, ...]:
    order = run.info.get("order")
    return (not isinstance(order, int), order if isinstance(order, int) else 0, run.arm, run.seed or 0)
