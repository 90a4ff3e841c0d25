"""The cells that a search can draw: each is composed and built when it has been drawn."""

from dataclasses import dataclass, field

from omegaconf import DictConfig

from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.expand import Grid
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.preflight import prepare
from lcx_lightning.runner.sweep.cells import SEED, Composer, cell_of
from lcx_lightning.runner.sweep.files import Sweep


@dataclass
class Space:
    """The cells of a search.

    Attributes:
        sweep: What the file asks for.
        config: Configuration that all cells share.
        shared: Its overrides.
        built: The cell that was built last.
    """

    sweep: Sweep
    config: DictConfig
    shared: list[str]
    built: list[BuiltArm] = field(default_factory=list)
    _composer: Composer = field(default_factory=Composer)

    def arm(self, own: list[str], order: int, *, here: bool) -> Arm:
        """Return the arm of a cell, which can be run to its end.

        Args:
            own: Overrides of the cell.
            order: Its rank among the cells.
            here: Whether it is to run on this machine.

        Raises:
            ValueError: If it cannot be composed, or could not be run.
        """
        seeds = [int(word.partition("=")[2]) for word in own if word.startswith(f"{SEED}=")]
        cell = cell_of(self.sweep, self.config, self.shared, own, self._composer)
        self.built = build(self.config, Grid([cell], self.shared, [], seeds or [self.config.seed]), in_sweep=True)
        arm = prepare(self.built[0], here=here)
        arm.order, arm.turned = order, own
        return arm
