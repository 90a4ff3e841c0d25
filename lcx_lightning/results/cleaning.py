"""What may be removed from a results folder and a cache: files of this program alone, and nothing that is in use."""

import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from lcx_lightning.results.listing import (
    ENDED,
    HOLDER,
    LOCK,
    STAGES,
    Entry,
    FoundExperiment,
    FoundRun,
    entries_in,
    size_of,
)

OF_RUN = ("run.json", ".run.json.*", "records.jsonl", "in_loop.jsonl", LOCK, HOLDER)
OF_EXPERIMENT = ("experiment.json*", ".experiment*", "*.svg", "*.png", "index.html")  # the report can be made again
FOLDERS = ("aside", "slurm")  # of an experiment, beside its runs


@dataclass
class Removal:
    """Files that go together or stay together.

    Args:
        folder: Folder that they are in; it goes too if nothing else is in it.
        what: What they are, in words.
        parts: Files and folders that go.
        kept: Others in these folders, which stay.
        locks: Files that are locked while this program uses the files.
    """

    folder: Path
    what: str
    parts: list[Path]
    kept: list[Path] = field(default_factory=list)
    locks: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes that are freed."""
        return sum(map(size_of, self.parts))

    def remove(self) -> None:
        """Remove the files. Links inside folders are removed, and what they name stays.

        Raises:
            ValueError: If a process uses them.
        """
        with ExitStack() as held:
            for lock in filter(Path.is_file, self.locks):
                mine = FileLock(lock)
                try:
                    held.enter_context(mine.acquire(blocking=False))
                except (Timeout, PermissionError) as error:
                    raise ValueError(f"{self.folder} is in use: a process holds {lock}. Stop it first.") from error
            for part in self.parts:
                if part.is_dir() and not part.is_symlink():
                    shutil.rmtree(part)
                else:
                    part.unlink(missing_ok=True)
        inside = {part.parent for part in self.parts if part.parent.is_relative_to(self.folder)}
        for folder in sorted({*inside, self.folder}, reverse=True):  # those inside first
            with suppress(OSError):  # something else is in it
                folder.rmdir()


def of_run(run: FoundRun) -> Removal:
    """Return the removal of a run."""
    ours, others = _told_apart(run.folder, OF_RUN)
    what = f"run of {run.arm}" + ("" if run.seed is None else f", seed {run.seed}") + f", {run.state}"
    return Removal(run.folder, what, ours, others, [run.folder / LOCK])


def of_experiment(found: FoundExperiment) -> Removal:
    """Return the removal of an experiment: its runs, its report, and what was put aside."""
    runs = [of_run(run) for run in found.runs if run.folder.is_dir()]
    ours, others = _told_apart(found.folder, OF_EXPERIMENT)
    folders = [path for path in others if path.name in FOLDERS and path.is_dir() and not path.is_symlink()]
    known = {*folders, *(run.folder for run in runs)}
    states = ", ".join(f"{count} {state}" for state, count in found.counts().items())
    return Removal(
        found.folder,
        f"experiment, runs: {states or 'none'}",
        [*(part for run in runs for part in run.parts), *ours, *folders],
        [*(part for run in runs for part in run.kept), *(path for path in others if path not in known)],
        [lock for run in runs for lock in run.locks],
    )


def of_unfinished(experiments: Iterable[FoundExperiment], cache: Path) -> list[Removal]:
    """Return the removals of runs that have not ended, and of the checkpoints with which they would go on."""
    runs = [run for one in experiments for run in one.runs if run.state not in (*ENDED, "running", "not begun")]
    named = {name for run in runs for name in stages_of(run)}
    work = [entry for entry in entries_in(cache) if entry.state == "unfinished" and entry.name in named]
    return [*map(of_run, runs), *(_of_entry(entry, "checkpoint of an unfinished training") for entry in work)]


def of_aside(experiments: Iterable[FoundExperiment], cache: Path | None) -> list[Removal]:
    """Return the removals of what was put aside because it could not be used any more."""
    places = [one.folder / "aside" for one in experiments] + [cache / stage / "aside" for stage in STAGES if cache]
    there = [place for place in places if place.is_dir() and not place.is_symlink()]
    return [Removal(place, "put aside, and not used any more", [place]) for place in there]


def of_cache(cache: Path, keep: Iterable[FoundExperiment] | None) -> list[Removal]:
    """Return the removals of what a cache holds; of what no run of the experiments `keep` refers to, if there are any.

    Raises:
        ValueError: If a run cannot be read, so that it is not known what it refers to.
    """
    everything, named, corpora = entries_in(cache), set(), set()
    for run in (run for one in keep or () for run in one.runs):
        if run.state == "damaged":
            raise ValueError(f"{run.reason} What it refers to is not known: remove it first, lcx clean {run.folder}.")
        named.update(stages_of(run))
        corpora.add(run.info.get("corpus"))
    entries = everything
    if keep is not None:
        entries = [entry for entry in everything if not _is_needed(entry, named, corpora)]
    locks = {entry.lock for entry in everything if entry.state != "lock"}
    chosen = [entry for entry in entries if entry.path not in locks]  # which go with what they are the locks of
    return [_of_entry(entry, f"cached {entry.stage}, {entry.state}") for entry in chosen]


def stages_of(run: FoundRun) -> set[str]:
    """Return the names of the cached stages that a run refers to, such as `extend/05651aeee644`."""
    checkpoint = run.info.get("checkpoint")
    named = checkpoint if isinstance(checkpoint, dict) else {}
    return {str(named[stage]) for stage in ("base", "extend") if named.get(stage)}


def _of_entry(entry: Entry, what: str) -> Removal:
    parts = [entry.path, entry.lock] if entry.lock.is_file() and entry.lock != entry.path else [entry.path]
    locks = [entry.lock] if entry.state != "aside" else []
    return Removal(entry.path, what, parts, [], locks)


def _is_needed(entry: Entry, named: set[str], corpora: set[str | None]) -> bool:
    """Return whether a run refers to an entry. Of a model folder's hashes nobody knows, and they are small."""
    if entry.stage == "tokens" and entry.state == "finished":
        with (entry.path / "documents.json").open(errors="replace") as file:
            text = file.read(4096)  # its key comes first
        return any(corpus and corpus in text for corpus in corpora)
    return entry.stage == "hashes" or (entry.name in named and entry.state != "aside")


def _told_apart(folder: Path, patterns: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """Return what is in a folder: files of this program, and everything else."""
    ours, others = [], []
    for path in sorted(folder.iterdir()):
        mine = path.is_file() and not path.is_symlink() and any(fnmatch(path.name, pattern) for pattern in patterns)
        (ours if mine else others).append(path)
    return ours, others
