"""List experiments, their arms, and the cache, with states and sizes: `python -m experiments.list`."""

import argparse
import re
import sys
from pathlib import Path
from time import localtime, strftime

from lcx_lightning.results.listing import Entry, FoundExperiment, entries_in, experiments_in, find_experiment
from lcx_lightning.results.report.screen import aligned, readers_may_leave, say, screen, size_text

CACHE = Path("~/.cache/lcx_lightning")  # cache_dir of a run, unless it is set


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, or 2 if there is no such experiment."""
    parser = argparse.ArgumentParser(prog="lcx list", description=__doc__)
    parser.add_argument("name", nargs="?", help="an experiment, whose arms are listed; all experiments without it")
    add_folders(parser)
    asked = parser.parse_args(as_options(arguments))
    console = screen()
    try:
        if asked.name is not None:
            lines = arms_of(find_experiment(asked.name, asked.results_dir))
        else:
            lines = [*experiments_of(asked.results_dir), "", *cache_of(asked.cache_dir.expanduser())]
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for line in lines:
        say(console, line)
    return 0


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the folders of results and of the cache, called as in `lcx run`."""
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="folder of experiments (%(default)s)")
    parser.add_argument("--cache-dir", type=Path, default=CACHE, help="folder of trained models (%(default)s)")


def as_options(arguments: list[str] | None) -> list[str]:
    """Return the words of a command line, with folders as options that are written as in `lcx run`: results_dir=..."""
    words = sys.argv[1:] if arguments is None else arguments
    return [re.sub(r"^(results|cache)_dir=", r"--\1-dir=", word) for word in words]


def experiments_of(results: Path) -> list[str]:
    """Return a line for each experiment: how many arms and runs are how far, when the last one changed, and sizes."""
    found = experiments_in(results)
    if not found:
        return [f"There is no experiment in {results}: lcx run makes one, --results-dir names another folder."]
    rows = [(one.name, _arms(one), date(one.changed), size_text(one.size), states(one)) for one in found]
    lines = aligned([("experiment", "arms", "last change", "size", "runs"), *rows], right=(1, 3))
    return [*lines, f"All in {results}: {size_text(sum(one.size for one in found))}"]


def _arms(experiment: FoundExperiment) -> str:
    return str(len({run.arm for run in experiment.runs}))


def states(experiment: FoundExperiment) -> str:
    """Return how many runs of an experiment are how far: `3 of 4 finished, 1 failed`."""
    counts, every = experiment.counts(), len(experiment.runs)
    rest = [f"{count} {state}" for state, count in counts.items() if state != "finished"]
    return ", ".join([f"{counts.get('finished', 0)} of {every} finished", *rest])


def arms_of(experiment: FoundExperiment) -> list[str]:
    """Return a line for each run of an experiment, and below it why it has not ended well."""
    rows = [
        (run.state, run.arm, "-" if run.seed is None else str(run.seed), date(run.changed), size_text(run.size))
        for run in experiment.runs
    ]
    places = [str(run.folder) for run in experiment.runs]
    header = ("state", "arm", "seed", "last change", "size", "folder")
    table = [(*row, place) for row, place in zip(rows, places, strict=True)]
    head, *lines = aligned([header, *table], right=(2, 4))
    shown = [head]
    for line, run in zip(lines, experiment.runs, strict=True):
        shown += [line, *([f"  {run.reason}"] if run.reason else [])]
    return shown


def cache_of(cache: Path) -> list[str]:
    """Return a line for each stage of a cache: how many are finished, how many are left of unfinished ones, sizes."""
    entries = [entry for entry in entries_in(cache) if entry.state != "lock"]
    if not entries:
        return [f"The cache {cache} is empty."]
    stages = list(dict.fromkeys(entry.stage for entry in entries))
    rows = [(stage, size_text(_size(entries, stage)), _counts(entries, stage)) for stage in stages]
    lines = aligned([("cache", "size", "entries"), *rows], right=(1,))
    return [*lines, f"All in {cache}: {size_text(sum(entry.size for entry in entries))}"]


def _size(entries: list[Entry], stage: str) -> int:
    return sum(entry.size for entry in entries if entry.stage == stage)


def _counts(entries: list[Entry], stage: str) -> str:
    found = [entry.state for entry in entries if entry.stage == stage]
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


def date(seconds: float | None) -> str:
    """Return a time of this place, to the minute."""
    return "-" if seconds is None else strftime("%Y-%m-%d %H:%M", localtime(seconds))


if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
