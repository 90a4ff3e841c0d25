"""Remove results and cached models, after saying what goes: `python -m experiments.clean quickstart`.

Only files of this program are removed, and none that a process is using.
"""

import argparse
import sys
from pathlib import Path

from experiments.list import add_folders, as_options
from lcx_lightning.results.cleaning import Removal, of_aside, of_cache, of_experiment, of_run, of_unfinished
from lcx_lightning.results.listing import experiments_in, find_experiment, find_runs
from lcx_lightning.results.report.screen import aligned, readers_may_leave, size_text

UNUSED, ALL = CACHE = ("unused", "all")


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0; 1 if the answer was no; 2 if there is nothing of that name, or it is in use."""
    asked = _parser().parse_args(as_options(arguments))
    asked.cache_dir = asked.cache_dir.expanduser()
    try:
        found = [removal for removal in removals(asked) if removal.parts]
        show(found)
        if not found or asked.dry_run:
            return 0
        if not asked.yes and not agreed():
            print("Nothing was removed.")
            return 1
        for removal in found:
            removal.remove()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("Removed.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lcx clean", description=__doc__)
    parser.add_argument("names", nargs="*", help="experiments, arms (NAME/ARM) or folders of runs")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--unfinished",
        action="store_true",
        help="of these experiments, or all, the runs that have not ended, and the checkpoints they would go on with",
    )
    kinds.add_argument(
        "--aside", action="store_true", help="of these experiments, or of all and the cache, what was put aside"
    )
    kinds.add_argument(
        "--cache",
        choices=CACHE,
        help="trained models and tokens: those that no run in the results folder refers to, or all",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="show what would go, and remove nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_folders(parser)
    return parser


def removals(asked: argparse.Namespace) -> list[Removal]:
    """Return what is asked for.

    Raises:
        ValueError: If nothing is named, or what is named is not there, is none of this program, or is in use.
    """
    results: Path = asked.results_dir
    if asked.cache:
        return _of_cache(asked, results)
    if asked.unfinished or asked.aside:
        found = [find_experiment(name, results) for name in asked.names] if asked.names else experiments_in(results)
        if asked.unfinished:
            return of_unfinished(found, asked.cache_dir)
        return of_aside(found, None if asked.names else asked.cache_dir)
    if not all(asked.names) or not asked.names:
        raise ValueError("Name what is to go: an experiment, NAME/ARM, --unfinished, --aside or --cache=unused.")
    return [removal for name in asked.names for removal in _named(name, results)]


def _named(name: str, results: Path) -> list[Removal]:
    """Return the removal of an experiment, or those of the runs of an arm."""
    found = find_runs(name, results)
    for folder in [found.folder] if found.whole else [run.folder for run in found.runs]:
        if folder.is_symlink():
            raise ValueError(f"{folder} is a link, and links are not followed: name {folder.resolve()} itself.")
    if busy := [run for run in found.runs if run.state == "running"]:
        raise ValueError(f"{busy[0].folder} is in use: a process computes {busy[0].arm} now. Stop it first.")
    return [of_experiment(found)] if found.whole else [of_run(run) for run in found.runs]


def _of_cache(asked: argparse.Namespace, results: Path) -> list[Removal]:
    if asked.names:
        raise ValueError(f"The cache is shared by experiments: leave out {' '.join(asked.names)}, or --cache.")
    found = experiments_in(results)
    if asked.cache == UNUSED and not found:
        raise ValueError(
            f"There is no experiment in {results}, so that all in {asked.cache_dir} would count as unused. Name the "
            "folder of your experiments with --results-dir, or all of the cache with --cache=all."
        )
    busy = [run for one in found for run in one.runs if run.state == "running"]
    if asked.cache == ALL and busy:
        raise ValueError(f"{busy[0].folder} is running, and needs the cache. Stop it first.")
    return of_cache(asked.cache_dir, found if asked.cache == UNUSED else None)


def show(found: list[Removal]) -> None:
    """Print what goes, and what stays in the same folders."""
    if not found:
        print("There is nothing to remove.")
        return
    for line in aligned([(size_text(one.size), str(one.folder), one.what) for one in found], right=(0,)):
        print(line)
    for kept in (path for one in found for path in one.kept):
        print(f"kept, because it is none of lcx: {kept}")
    print(f"In all {size_text(sum(one.size for one in found))}.")


def agreed() -> bool:
    """Return whether the answer to a question is yes."""
    print("Remove? [y/N] ", end="", flush=True)
    return sys.stdin is not None and sys.stdin.readline().strip().lower() in ("y", "yes")


if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
