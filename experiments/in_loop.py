"""Evaluation in the loop: which evaluations run during the training of an arm, on how much, and where rows go."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import ranks
from lcx_lightning.data.source import LongContextData
from lcx_lightning.evaluation.base import Piece
from lcx_lightning.evaluation.several import Several
from lcx_lightning.results import records

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.arms import Arm

FILE = "in_loop.jsonl"  # beside the model that was trained, and of the run: rows with `step`


class Looks:
    """What is evaluated at a step: of every evaluation, the first batches of each length.

    Args:
        arm: That is trained.
        data: Of the arm.
        path: Where rows are appended.

    Raises:
        ValueError: If an evaluation cannot be made of the arm's configuration, or the data do not serve it.
    """

    def __init__(self, arm: "Arm", data: LongContextData, path: Path) -> None:
        chosen = arm.config["in_loop"]
        changes, own = chosen["evaluation"], arm.config["evaluation"]
        merged = OmegaConf.create({name: OmegaConf.merge(own.get(name) or {}, changes[name]) for name in changes})
        if unknown := [name for name in changes if not own.get(name) and "_target_" not in changes[name]]:
            raise ValueError(f"in_loop.evaluation names {', '.join(unknown)}; {', '.join(own)} are evaluated.")
        evaluation = Several(instantiate(merged if changes else own))
        pieces = evaluation.pieces(data, arm.pretrain_length, arm.reach)
        if not pieces:
            raise ValueError(f"in_loop.evaluation has no length that {arm.name} reaches, {arm.reach} tokens.")
        self._pieces, self._path = first_of_each_length(pieces, chosen["batches"]), path

    def __call__(self, model: "PreTrainedModel", step: int) -> dict[str, float]:
        """Append the rows of a step that are not there yet, and return their means by evaluation and length."""
        rows = [row | {"step": step} for piece in self._pieces for row in piece.compute(model)]
        if ranks.rank() == 0:
            known = records.read(self._path) if self._path.exists() else []
            there = {_identity(row) for row in known}
            records.append(self._path, [row for row in rows if _identity(row) not in there])
        return means(rows)


def first_of_each_length(pieces: list[Piece], batches: int) -> list[Piece]:
    """Return the pieces that are among the first so many of their protocol at any of their lengths."""
    seen, kept = Counter(), []
    for piece in pieces:
        cells = {(row["evaluation"], row["protocol"], row["context_length"]) for row in piece.rows}
        if any(seen[cell] < batches for cell in cells):
            kept.append(piece)
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
