"""The command that runs one arm of a grid again: the words it was composed of, without what is of the whole grid."""

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lcx_lightning.runner.expand import Cell
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.own_files import own_folders
from lcx_lightning.runner.secrets import masked_words
from lcx_lightning.runner.settings import check_ignored

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm

OF_GRID = ("arms", "seed", "seeds", "jobs", "dry_run", "report", "hydra")


def command_of(cell: Cell, arm: "Arm", idle: Iterable[str]) -> str:
    """Return the command line of which an arm is the only one, with the same id; secrets are masked.

    Args:
        cell: The cell of the grid.
        arm: The arm, which is the cell at a seed.
        idle: Knobs that it does not depend on.
    """
    left_out = {*OF_GRID, *idle}
    words = [word for word in cell.words if _key(word).split(".")[0] not in left_out and _counts(word, arm)]
    experiment = [f"experiment={cell.config.experiment}"]
    if not {*experiment, f"+exp={cell.config.experiment}"}.isdisjoint(words) or _sets(words, "experiment"):
        experiment = []
    grid = ["arms=[]"] if cell.config.arms else []
    seeds = ["seeds=1"] if cell.config.seeds != 1 else []
    folders = [f"--config-dir={folder}" for folder in own_folders(cell.config)]
    words = [*words, *experiment, *grid, f"seed={arm.seed}", *seeds]
    return shlex.join([*torchrun.command(), "-m", "experiments.run", *folders, *masked_words(words)])


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _sets(words: Iterable[str], key: str) -> bool:
    return any(_key(word) == key for word in words)


def _counts(word: str, arm: "Arm") -> bool:
    """Return whether a word changes something in the arm: those that other arms alone need would be refused."""
    try:
        check_ignored([arm], [word])
    except ValueError:
        return False
    return True
