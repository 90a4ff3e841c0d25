"""Results by place: folders, archives, and projects of W&B; what cannot be had of one costs the others nothing."""

from collections.abc import Iterable
from pathlib import Path

from lcx_lightning.results.sources import experiments_at
from lcx_lightning.results.wandb_project import PREFIX, Found, OutOfReachError, project_of, read_project


def is_project(place: Path | str) -> bool:
    """Whether a place is a project of W&B, `wandb:ENTITY/PROJECT`."""
    return str(place).startswith(PREFIX)


def read_places(places: Iterable[Path | str]) -> Found:
    """Return the experiments at some places, and in a sentence for each what is missing.

    Raises:
        ValueError: If a folder holds no runs, or is damaged, or nothing is left of all places.
    """
    places = list(places)
    folders = [Path(place) for place in places if not is_project(place)]
    experiments, missing = experiments_at(folders) if folders else [], list[str]()
    for place in filter(is_project, places):
        try:
            found = read_project(project_of(str(place)))
        except OutOfReachError as error:
            missing.append(str(error))
        else:
            experiments += found.experiments
            missing += found.missing
    if not experiments:
        raise ValueError(" ".join(missing))
    return Found(experiments, missing)
