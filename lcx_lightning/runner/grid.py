"""The grid of an experiment: its arms, each built once, with what its method does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.methods.fingerprint import alike, digest, fingerprint
from lcx_lightning.methods.library import complete
from lcx_lightning.methods.method import Method
from lcx_lightning.models.clex_checkpoint import grows, with_own_clex
from lcx_lightning.results.metrics import as_data
from lcx_lightning.runner.again import command_of
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm, Described, resolve
from lcx_lightning.runner.contents import contents_in
from lcx_lightning.runner.expand import Grid
from lcx_lightning.runner.in_loop_evaluation import names_in_loop
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.own_files import method_files_named
from lcx_lightning.runner.recipe import train_length
from lcx_lightning.runner.settings import but_for_knobs, check_ignored, idle_knobs
from lcx_lightning.schema.targets import check_targets

BASELINE = ["pretrained"]
NAMING = ("model", "method", "training", "evaluation", "in_loop")  # parts that name files; those of data are its corpus


def build(config: DictConfig, grid: Grid, in_sweep: bool = False) -> list[BuiltArm]:
    """Return the arms of the grid, one per seed, each with what its method does.

    Neither data nor weights are read, and nothing is looked for on this machine: see `preflight.check_arm`.

    Args:
        config: Composed configuration of the command line.
        grid: What it expands to.
        in_sweep: Whether it is a cell of a sweep, whose other cells may be trained.

    Raises:
        ValueError: If an arm cannot be built, or its model is not supported.
    """
    arms: list[BuiltArm] = []
    shared = Shared()
    given = {line.partition("=")[0] for line in grid.line}
    for order, cell in enumerate(grid.cells):
        with method_files_named(cell.methods, cell.config):
            idle: list[str] = []
            for rank, (plain, described) in enumerate(resolve(cell.config, grid.seeds)):
                check_targets(plain, cell.own_modules)
                if rank == 0:  # the other seeds depend on no other knobs
                    idle = [*_idle_knobs(cell.config, described, shared)]
                factor = None if "factor" in idle else plain["factor"]
                arm = Arm(cell.name, cell.methods, order, plain, factor=factor)
                arm.command = command_of(cell, arm, idle)
                arms.append(_built(BuiltArm(arm, described, shared.loaded), [*idle], given, shared))
    launched_here = "at_once" in config.launch and not torchrun.started()
    check_ignored([built.arm for built in arms], grid.line, launched_here, in_sweep)
    return arms


@dataclass
class Shared:
    """What arms of a grid share: loaded data, what a method does at the same lengths, and knobs that are idle."""

    loaded: dict[str, LongContextData] = field(default_factory=dict)
    passes: dict[str, dict[str, Any]] = field(default_factory=dict)
    idle: dict[str, list[str]] = field(default_factory=dict)

    def fingerprint(self, method: Callable[[], Method], described: Any, built: BuiltArm) -> dict[str, Any]:
        """Return the fingerprint of a method at the lengths of an arm.

        Args:
            method: Function that returns the method.
            described: What the method is made of, as plain data.
            built: An arm that knows its lengths.
        """
        arm = built.arm
        key = repr((described, built.model.spec, arm.lengths, arm.train_length))
        if key not in self.passes:
            self.passes[key] = fingerprint(method(), arm.lengths, arm.train_length)
        return self.passes[key]


def _built(built: BuiltArm, idle: list[str], given: set[str], shared: Shared) -> BuiltArm:
    """Return an arm of the grid with what its method does.

    Args:
        built: The arm, in which this is filled in.
        idle: Knobs that the arm does not depend on.
        given: Keys on the command line.
        shared: What arms share.
    """
    if not _fill_in(built, shared).positions.length_dependent:
        idle.append("grow")
    built.ignored = [name for name in idle if name in given and name in built.arm.config]  # window=??? leaves it open
    return built


def _idle_knobs(composed: DictConfig, described: Described, shared: Shared) -> list[str]:
    """Return the knobs that an arm does not depend on, with the settings of its checkpoint."""
    key = but_for_knobs(composed)
    if key is None or key not in shared.idle:
        found = idle_knobs(composed, with_own_clex(complete(composed.method), described.config))
        return found if key is None else shared.idle.setdefault(key, found)
    return shared.idle[key]


def _fill_in(built: BuiltArm, shared: Shared) -> Method:
    """Fill in the lengths of an arm and what its method does at these, and return the method."""
    arm, length, evaluation = built.arm, built.model.spec.pretrain_length, built.evaluation
    training = arm.config["training"]
    arm.pretrain_length, arm.train_length = length, training and train_length(training, length)
    arm.contents = {part: found for part in NAMING if (found := contents_in(arm.config[part]))}
    method = built.method()
    arm.grows = grows(arm.config["grow"], method, built.model.config)
    if arm.config["grow"] is None:
        arm.config["grow"] = arm.grows
    arm.max_context = method.max_context(length)
    wanted, arm.lengths = evaluation.lengths(length), evaluation.served(length, arm.max_context)
    arm.not_evaluated = {str(n): f"beyond its reach, {arm.max_context} tokens" for n in wanted if n not in arm.lengths}
    if not arm.lengths:
        raise ValueError(
            f"{arm.name} reaches {arm.max_context} tokens, but the shortest evaluated length is {wanted[0]}: raise "
            "factor."
        )
    arm.in_loop = names_in_loop(built) if arm.evaluates_in_loop else []
    arm.metrics, arm.served = as_data(evaluation.metrics()), evaluation.served_by_measure(length, arm.max_context)
    arm.learns = any(True for _ in method.parameters())
    passes = shared.fingerprint(lambda: method, (arm.config["method"], arm.contents.get("method")), built)
    pretrained = shared.fingerprint(built.pretrained, BASELINE, built)
    arm.fingerprint = digest(passes)
    arm.training_fingerprint = digest({name: one for name, one in passes.items() if name.startswith("training")})
    arm.equals_pretrained = arm.methods != BASELINE and alike(passes, pretrained)
    return method
