"""Several evaluations of one arm, one after the other, as one."""

from collections.abc import Mapping
from typing import Any

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import Evaluation, WorkUnit, hash_of
from lcx_lightning.results.metrics import Metric


class EvaluationSuite(Evaluation):
    """All evaluations that were chosen, in their order.

    Args:
        chosen: Evaluations by name. Values of another type are left out: an experiment may hold settings of an
            evaluation that the command line has not chosen.

    Raises:
        ValueError: If no evaluation is left.
    """

    def __init__(self, chosen: Mapping[str, Any]) -> None:
        self._evaluations = [one for one in chosen.values() if isinstance(one, Evaluation)]
        if not self._evaluations:
            raise ValueError(f"An arm needs an evaluation, got {list(chosen)}: choose one with evaluation=NAME.")

    def lengths(self, pretrain_length: int) -> list[int]:
        return sorted({length for one in self._evaluations for length in one.lengths(pretrain_length)})

    def served(self, pretrain_length: int, max_context: int | None) -> list[int]:
        return sorted({length for one in self._evaluations for length in one.served(pretrain_length, max_context)})

    def served_by_measure(self, pretrain_length: int, max_context: int | None) -> dict[str, list[int]]:
        """Return, by protocol/metric, the context lengths of at most `max_context` tokens, shortest first."""
        found: dict[str, set[int]] = {}
        for one in self._evaluations:
            for measure in one.metrics():
                found.setdefault(measure, set()).update(one.served(pretrain_length, max_context))
        return {measure: sorted(lengths) for measure, lengths in found.items()}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        return [unit for one in self._evaluations for unit in one.work_units(data, pretrain_length, max_context)]

    def examples_identity(self) -> str | None:
        found = [identity for one in self._evaluations if (identity := one.examples_identity())]
        return hash_of(*found) if found else None

    def metrics(self) -> dict[str, Metric]:
        return {name: metric for one in self._evaluations for name, metric in one.metrics().items()}
