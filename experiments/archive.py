"""Keep the records of finished experiments: `python -m experiments.archive results/reproduce_cpu`.

What stays is experiment.json, and run.json and records.jsonl of each run; tables, figures and pages are made from them.
Where the folders of the machine were that ran it goes.
"""

import argparse
import sys
from pathlib import Path

from lcx_lightning.results.archive import SUFFIX, places_of, portable, save_archive
from lcx_lightning.results.listing import ENDED
from lcx_lightning.results.records import EXPERIMENT, RECORDS, RUN, read_experiment, read_experiment_file
from lcx_lightning.results.report.screen import Output, say, screen

KEPT = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, or 2 if a folder is no finished experiment."""
    parser = argparse.ArgumentParser(prog="python -m experiments.archive", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="a results folder, such as results/reproduce_cpu")
    parser.add_argument("--to", type=Path, default=KEPT, help="folder of the archives (%(default)s)")
    asked = parser.parse_args(arguments)
    try:
        for folder in asked.folders:
            archive = asked.to / f"{folder.resolve().name}{SUFFIX}"
            save_archive(kept_files(folder), archive)
            say(screen(), str(archive))
    except (ValueError, OSError) as error:
        Output(sys.stderr).write(f"{error}\n")
        return 2
    return 0


def kept_files(folder: Path) -> dict[str, str]:
    """Return the texts of an experiment that its tables are made from, by name of the file in the folder.

    Raises:
        ValueError: If a run is not finished, or has not begun.
    """
    runs, asked = read_experiment(folder).runs, read_experiment_file(folder).get("runs", [])
    ended = [run.folder.name for run in runs if run.info.get("state") in ENDED]
    if unfinished := sorted({*asked, *(run.folder.name for run in runs)} - {*ended}):
        raise ValueError(f"{folder} has runs that are not finished: {', '.join(unfinished)}. Run its command again.")
    kept = {EXPERIMENT: folder / EXPERIMENT}
    kept |= {f"{run.folder.name}/{name}": run.folder / name for run in runs for name in (RUN, RECORDS)}
    places = places_of(run.info.get("config") or {} for run in runs)
    there = {name: path for name, path in kept.items() if path.exists()}
    return {name: path.read_text() if path.name == RECORDS else portable(path, places) for name, path in there.items()}


if __name__ == "__main__":
    sys.exit(main())
