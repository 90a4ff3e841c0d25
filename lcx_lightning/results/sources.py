"""Results in any number of places: run folders, experiments, archives, and folders above them, read once each."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lcx_lightning.results.archive import SUFFIX
from lcx_lightning.results.faults import MISSING, Told, telling
from lcx_lightning.results.records import (
    EXPERIMENT,
    RUN,
    Experiment,
    in_order,
    read_experiment,
    read_experiment_file,
    read_run,
)

DEPTH = 4  # folders below one that is given: a shared disk is not searched as a whole


def experiments_at(places: Sequence[Path], told: Told | None = None) -> list[Experiment]:
    """Return the experiments at the places, in their order; of a run folder, the experiment with that run alone.

    Args:
        places: Run folders, experiments, archives, and folders above them.
        told: Is told of places without results and of what is damaged. None: that is an error.

    Raises:
        ValueError: If a place has no results, or a file of one is damaged.
    """
    found: list[Experiment] = []
    seen: set[Path] = set()
    for place in map(Path, places):
        several = [*_folders_at(place, DEPTH, told)]
        if not several:
            with telling(told and (lambda one: told(one._replace(state=MISSING))), place):
                read_experiment(place)  # says what is needed, and what there is
        for folder in several:
            if (resolved := folder.resolve()) not in seen:
                seen.add(resolved)
                with telling(told, folder):
                    found.append(_of_run(folder, told) if _is_run(folder) else read_experiment(folder, told))
    return found


def _folders_at(place: Path, depth: int, told: Told | None) -> Iterator[Path]:
    """Yield a place that is a run, an experiment or an archive; else those below it. Of one that is shut `told`."""
    below: list[Path] = []
    with telling(told, place):
        if _is_run(place) or _is_experiment(place) or _is_archive(place):
            yield place
        elif place.is_dir() and depth:
            below = sorted(place.iterdir())
    for inner in below:
        if not inner.is_symlink() and not inner.name.startswith(".") and inner.name != "aside":
            yield from _folders_at(inner, depth - 1, told)


def _is_run(folder: Path) -> bool:
    return os.path.lexists(folder / RUN)


def _is_archive(path: Path) -> bool:
    return path.suffix == SUFFIX and path.is_file()


def _is_experiment(folder: Path) -> bool:
    """Whether a folder has runs in it: one that was claimed by a command has none before the first begins."""
    return folder.is_dir() and any(_is_run(inner) for inner in folder.iterdir() if inner.is_dir())


def _of_run(folder: Path, told: Told | None) -> Experiment:
    """The experiment around a run folder, with that run alone."""
    meta, around = {}, folder.parent / EXPERIMENT
    with telling(told, around):
        meta = {key: value for key, value in read_experiment_file(folder.parent).items() if key != "runs"}
    name = {} if around.exists() else {"name": folder.name}
    run = read_run(folder, told)
    return Experiment(folder, meta | name, in_order([replace(run, name=run.info["arm"])]))
