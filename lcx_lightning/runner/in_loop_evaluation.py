"""Evaluation in the loop: which evaluations run while an arm is trained, on how much text, and where rows go."""

from collections import Counter, defaultdict
from math import exp, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from lcx_lightning.distributed import process_group
from lcx_lightning.evaluation.base import WorkUnit
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.results import records
from lcx_lightning.results.logged import relative
from lcx_lightning.schema.build import build

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lcx_lightning.runner.built_arm import BuiltArm

FILE = "in_loop.jsonl"  # beside the trained model, and beside the records of the run: rows with a step in `at`
LARGEST = 700.0  # nats whose perplexity a number holds


class InLoopEvaluation:
    """What is evaluated at a step: of every evaluation, the first batches of each length.

    Args:
        built: The arm that is trained.
        path: File to which rows are appended.

    Raises:
        ValueError: If the arm's configuration makes no evaluation, or the data are too short for one.
    """

    def __init__(self, built: "BuiltArm", path: Path) -> None:
        arm, evaluation = built.arm, _suite(built)
        work_units = evaluation.work_units(built.data, arm.pretrain_length, arm.max_context)
        if not work_units:
            raise ValueError(
                f"{arm.name} serves contexts of at most {arm.max_context} tokens, and in_loop.evaluation has none so "
                "short: lower its multiples."
            )
        self._pretrain_length = arm.pretrain_length
        self._work_units, self._path = first_of_each_length(work_units, arm.config["in_loop"]["batches"]), path

    def __call__(self, model: "PreTrainedModel", step: int) -> dict[str, float]:
        """Append the rows of a step that are not there yet, and return their means by evaluation and length."""
        computed = [row for unit in self._work_units for rows in unit.computed(model) for row in rows]
        rows = [row | {"at": row["at"] | {"step": step}} for row in computed]
        if process_group.rank() == 0:
            known = records.read(self._path) if self._path.exists() else []
            done = {records.identity(row) for row in known}
            records.append(self._path, [row for row in rows if records.identity(row) not in done])
        return means(rows, self._pretrain_length)


def names_in_loop(built: "BuiltArm") -> list[str]:
    """Return the names of the means of an arm that is evaluated while it is trained, known before it is: see `means`.

    Raises:
        ValueError: If the arm's configuration makes no evaluation.
    """
    suite, length = _suite(built), built.arm.pretrain_length
    served = suite.served_by_measure(length, built.arm.max_context)
    parts = [(measure.partition("/"), lengths) for measure, lengths in served.items()]
    cells = [(protocol, metric, place) for (protocol, _, metric), lengths in parts for place in lengths]
    return [name for cell in cells for name in _shown(*cell, 0.0, length)]


def _suite(built: "BuiltArm") -> EvaluationSuite:
    """Return what is evaluated during training: what `in_loop.evaluation` changes, else all that is evaluated after."""
    changes, after = built.arm.config["in_loop"]["evaluation"], built.arm.config["evaluation"]
    merged = OmegaConf.create({name: OmegaConf.merge(after.get(name) or {}, changes[name]) for name in changes})
    if unknown := [name for name in changes if not after.get(name) and "_target_" not in changes[name]]:
        raise ValueError(
            f"in_loop.evaluation names {', '.join(unknown)}, but the arm is evaluated by {', '.join(after)}: name "
            "one of these, or give _target_ as well."
        )
    return EvaluationSuite(build(merged, "in_loop.evaluation")) if changes else built.evaluation


def first_of_each_length(work_units: list[WorkUnit], batches: int) -> list[WorkUnit]:
    """Return the work units that are among the first `batches` of their protocol at any of their lengths."""
    seen, kept = Counter(), []
    for unit in work_units:
        cells = {(row["evaluation"], row["protocol"], row["context_length"]) for row in unit.rows}
        if any(seen[cell] < batches for cell in cells):
            kept.append(unit)
            seen.update(cells)
    return kept


def means(rows: list[dict[str, Any]], pretrain_length: int) -> dict[str, float]:
    """Return sum of values over sum of counts, by protocol, metric and length: `in_loop/last_k/nll/512`, in tokens.

    Each stands by multiples of L as well, `in_loop/last_k/nll/4L`, and beside a mean of nll stands its perplexity.
    """
    sums: dict[tuple[str, str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        cell = sums[row["protocol"], row["metric"], row["context_length"]]
        cell[0] += row["value"]
        cell[1] += row["n"]
    found: dict[str, float] = {}
    for (protocol, metric, length), (value, n) in sums.items():
        found |= _shown(protocol, metric, length, value / n, pretrain_length)
    return found


def _shown(protocol: str, metric: str, length: int, mean: float, pretrain_length: int) -> dict[str, float]:
    """Return a mean by each of its names."""
    shown = {metric: mean} | ({"perplexity": exp(mean) if mean < LARGEST else inf} if metric == "nll" else {})
    places = (length, relative(length, pretrain_length))
    return {f"in_loop/{protocol}/{kind}/{place}": one for kind, one in shown.items() for place in places}


def keep(trained: Path | None, folder: Path, head: dict[str, Any]) -> None:
    """Copy what was evaluated while a model was trained into the folder of a run, as rows of that run."""
    if trained is not None and (trained / FILE).exists():
        (folder / FILE).unlink(missing_ok=True)
        records.append(folder / FILE, [head | row for row in records.read(trained / FILE)])
