"""Results by place: folders, archives, and projects of W&B; what cannot be had of one costs the others nothing."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lcx_lightning.results.faults import MISSING, Fault
from lcx_lightning.results.runs import Experiment
from lcx_lightning.results.sources import experiments_at
from lcx_lightning.results.wandb_project import PREFIX, OutOfReachError, project_of, read_project


def is_project(place: Path | str) -> bool:
    """Whether a place is a project of W&B, `wandb:ENTITY/PROJECT`."""
    return str(place).startswith(PREFIX)


class Places(NamedTuple):
    """The experiments at some places, and what of them cannot be had."""

    experiments: list[Experiment]
    faults: list[Fault]


def read_places(places: Iterable[Path | str], whole: bool = False) -> Places:
    """Return the experiments at some places, and what is damaged or missing.

    Args:
        places: Run folders, experiments, archives, folders above them, and projects of W&B.
        whole: Whether a folder that is damaged, or holds no runs, is an error.

    Raises:
        ValueError: If nothing is left of all places.
    """
    places = list(places)
    faults: list[Fault] = []
    folders = [Path(place) for place in places if not is_project(place)]
    experiments = experiments_at(folders, None if whole else faults.append)
    for place in map(str, filter(is_project, places)):
        try:
            found = read_project(project_of(place))
        except OutOfReachError as error:
            faults.append(Fault(place, str(error), MISSING))
        else:
            experiments += found.experiments
            faults += [Fault(place, sentence, MISSING) for sentence in found.missing]
    if not experiments:
        raise ValueError("\n".join(dict.fromkeys(fault.reason for fault in faults)))
    return Places(experiments, faults)
