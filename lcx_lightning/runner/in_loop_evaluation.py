"""Evaluation in the loop: which evaluations run during the training of an arm, on how much, and where rows go."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from lcx_lightning.distributed import process_group
from lcx_lightning.evaluation.base import WorkUnit
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.results import records

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lcx_lightning.runner.built_arm import BuiltArm

FILE = "in_loop.jsonl"  # beside the model that was trained, and of the run: rows with `step`


class InLoopEvaluation:
    """What is evaluated at a step: of every evaluation, the first batches of each length.

    Args:
        built: The arm that is trained.
        path: File to which rows are appended.

    Raises:
        ValueError: If an evaluation cannot be made of the arm's configuration, or the data do not serve it.
    """

    def __init__(self, built: "BuiltArm", path: Path) -> None:
        arm = built.arm
        chosen = arm.config["in_loop"]
        changes, own = chosen["evaluation"], arm.config["evaluation"]
        merged = OmegaConf.create({name: OmegaConf.merge(own.get(name) or {}, changes[name]) for name in changes})
        if unknown := [name for name in changes if not own.get(name) and "_target_" not in changes[name]]:
            raise ValueError(f"in_loop.evaluation names {', '.join(unknown)}; {', '.join(own)} are evaluated.")
        evaluation = EvaluationSuite(instantiate(merged)) if changes else built.evaluation
        work_units = evaluation.work_units(built.data, arm.pretrain_length, arm.max_context)
        if not work_units:
            raise ValueError(f"in_loop.evaluation has no length that {arm.name} reaches, {arm.max_context} tokens.")
        self._work_units, self._path = first_of_each_length(work_units, chosen["batches"]), path

    def __call__(self, model: "PreTrainedModel", step: int) -> dict[str, float]:
        """Append the rows of a step that are not there yet, and return their means by evaluation and length."""
        rows = [row | {"step": step} for unit in self._work_units for row in unit.compute(model)]
        if process_group.rank() == 0:
            known = records.read(self._path) if self._path.exists() else []
            there = {_identity(row) for row in known}
            records.append(self._path, [row for row in rows if _identity(row) not in there])
        return means(rows)


def first_of_each_length(work_units: list[WorkUnit], batches: int) -> list[WorkUnit]:
    """Return the pieces that are among the first so many of their protocol at any of their lengths."""
    seen, kept = Counter(), []
    for unit in work_units:
        cells = {(row["evaluation"], row["protocol"], row["context_length"]) for row in unit.rows}
        if any(seen[cell] < batches for cell in cells):
            kept.append(unit)
            seen.update(cells)
    return kept


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return sum of values over sum of counts, by protocol, metric and length: `in_loop/last_k/nll/512`."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        held = sums[f"in_loop/{row['protocol']}/{row['metric']}/{row['context_length']}"]
        held[0] += row["value"]
        held[1] += row["n"]
    return {name: value / n for name, (value, n) in sums.items()}


def keep(trained: Path | None, folder: Path, head: dict[str, Any]) -> None:
    """Write what was evaluated while a model was trained into the folder of a run."""
    if trained is not None and (trained / FILE).exists():
        (folder / FILE).unlink(missing_ok=True)
        records.append(folder / FILE, [head | row for row in records.read(trained / FILE)])


def _identity(row: dict[str, Any]) -> tuple:
    return tuple(row.get(name) for name in records.IDENTITY)
