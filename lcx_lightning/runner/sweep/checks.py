"""What is wrong with a sweep, found before its first cell: refused, or said where cells can be run all the same."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lcx_lightning.runner.settings import OF_TRAINING, key_of
from lcx_lightning.runner.sweep.drawn import check_drawn
from lcx_lightning.runner.sweep.files import Sweep
from lcx_lightning.runner.sweep.metric_names import why_not_logged

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm  # torch, which a word that is refused does not need

WITH_HISTORY = ("in_loop/", "train/", "validation/")  # metrics that are logged while a run goes on
FEW = 3  # cells that a sentence names


def check_early_terminate(sweep: Sweep) -> None:
    """Raise a ValueError if runs are to be ended by a metric that is logged at their end alone."""
    if sweep.early_terminate and not (sweep.metric or "").startswith(WITH_HISTORY):
        raise ValueError(
            f"{sweep.path}: early_terminate needs a metric that is logged during a run, and {sweep.metric} is logged "
            "at its end. Take one of in_loop/, such as in_loop/last_k/nll/256, with in_loop.every=STEPS."
        )


def check_grid(sweep: Sweep) -> None:
    """Raise a ValueError if a grid is not to be run as a whole, which a server would obey."""
    for name in ("run_cap", "early_terminate"):
        if getattr(sweep, name):
            raise ValueError(f"{sweep.path}: {name} is for method random or bayes: a grid is run as a whole here.")


def check_search(sweep: Sweep, count: int | None, retry: bool) -> None:
    """Raise a ValueError if cells cannot be drawn as a file and a command ask."""
    if not (sweep.run_cap or count):
        raise ValueError(f"{sweep.path}: a search needs run_cap, or --count: the number of cells that are drawn.")
    if not sweep.metric:
        raise ValueError(f"{sweep.path}: a search needs a metric, with name and goal, by which cells are judged.")
    if not (sweep.values or sweep.drawn):
        raise ValueError(f"{sweep.path}: there is nothing to draw: give a parameter several values, or min and max.")
    if retry:
        raise ValueError(f"{sweep.path}: --retry is for grids. A search goes on with other cells: raise run_cap.")
    check_drawn(sweep)


def check_metric(sweep: Sweep, arms: Sequence["Arm"], labels: Sequence[str]) -> list[str]:
    """Return what is to be said about a metric that some cells do not have.

    Raises:
        ValueError: If no cell ever logs it, or cells are chosen by it and one cannot have it.
    """
    if sweep.metric is None:
        return []
    why = [why_not_logged(sweep.metric, arm) for arm in arms]
    without = [f"{label}: {said}" for label, said in zip(labels, why, strict=True) if said]
    if len(without) == len(arms) or (without and sweep.method != "grid"):
        raise ValueError(f"{sweep.path}: the metric {sweep.metric} is not logged by {_few(without)}.")
    return [f"{len(without)} of {len(arms)} cells do not log {sweep.metric}: {_few(without)}."] if without else []


def doubles(arms: Sequence["Arm"], labels: Sequence[str]) -> list[str]:
    """Return sentences on cells that are one run, because they differ in nothing that it depends on."""
    by_run: dict[str, list[str]] = defaultdict(list)
    for arm, label in zip(arms, labels, strict=True):
        by_run[arm.run].append(label)
    return [
        f"{len(same)} cells are one run, which is computed once: {_few(same)}."
        for same in by_run.values()
        if len(same) > 1
    ]


def equal_to_pretrained(arms: Sequence["Arm"], labels: Sequence[str]) -> list[str]:
    """Return a sentence on cells whose method does nothing, which are left out."""
    same = [label for arm, label in zip(arms, labels, strict=True) if arm.equals_pretrained]
    return [f"{len(same)} of {len(arms)} cells equal pretrained and are left out: {_few(same)}."] if same else []


def idle_training(sweep: Sweep, words: Sequence[str], arms: Sequence["Arm"], labels: Sequence[str]) -> list[str]:
    """Return a sentence on values of training that cells without training do not depend on."""
    keys = [key_of(word) for word in (*words, *(f"{key}=" for key in sweep.values))]
    of_training = [key for key in dict.fromkeys(keys) if key.startswith(OF_TRAINING)]
    idle = [label for arm, label in zip(arms, labels, strict=True) if arm.config["training"] is None]
    if not of_training or not idle:
        return []
    return [f"{', '.join(of_training)} changes nothing in {len(idle)} cells that are not trained: {_few(idle)}."]


def _few(found: Sequence[str]) -> str:
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return "; ".join(found[:FEW]) + more
