"""The command that runs one arm of a grid again: the words it was composed of, without what is of the whole grid."""

import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lcx_lightning.runner.expand import Cell
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.own_files import own_folders
from lcx_lightning.runner.secrets import masked_words
from lcx_lightning.runner.settings import check_ignored, key_of

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm

WORD = re.compile(r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z][\w.+-]*")  # which Hydra reads as a text
OF_GRID = ("arms", "seed", "seeds", "jobs", "dry_run", "report", "hydra")


def command_of(cell: Cell, arm: "Arm", idle: Iterable[str]) -> str:
    """Return the command line of which an arm is the only one, with the same id; secrets are masked.

    Args:
        cell: The cell of the grid.
        arm: The arm, which is the cell at a seed.
        idle: Knobs that it does not depend on.
    """
    left_out = {*OF_GRID, *idle}
    config = cell.config
    words = [word for word in cell.words if key_of(word).split(".")[0] not in left_out and _counts(word, arm)]
    given = {key_of(word) for word in words}
    named = "experiment" in given or f"+exp={config.experiment}" in words
    experiment = [] if named else [f"experiment={_quoted(config.experiment)}"]
    grid = ["arms=[]"] if config.arms or "exp" in given else []
    seeds = ["seeds=1"] if config.seeds != 1 or "exp" in given else []
    against = ["report.against=null"] if config.report.against and "exp" in given else []
    folders = [f"--config-dir={folder}" for folder in own_folders(config)]
    words = [*words, *experiment, *grid, f"seed={arm.seed}", *seeds, *against]
    return shlex.join([*torchrun.command(), "-m", "experiments.run", *folders, *masked_words(words)])


def _quoted(name: str) -> str:
    """Return a text as a value of an override, in quotes where it could be read as something else."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return name if WORD.fullmatch(name) else f"'{escaped}'"


def _counts(word: str, arm: "Arm") -> bool:
    """Return whether a word changes something in the arm: those that other arms alone need would be refused."""
    try:
        check_ignored([arm], [word])
    except ValueError:
        return False
    return True
