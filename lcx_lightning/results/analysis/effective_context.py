"""Effective context: the longest context at which an arm still does as well as at the pretraining length."""

import math
from dataclasses import dataclass

from lcx_lightning.results.analysis.estimates import Estimate, arm_rows, paired, score, unpaired
from lcx_lightning.results.metrics import Measure, Metric
from lcx_lightning.results.records import Experiment

TOLERANCE = 0.05  # share of the arm's perplexity, or score, at the pretraining length
FULL_RULER, RULER_SCORE = 13, 85.6  # number of tasks, and the score of Llama-2-7B at 4k over all (arXiv:2404.06654)


@dataclass(frozen=True)
class EffectiveContext:
    """Effective context in tokens: one of the evaluated lengths from the pretraining length L on; 0 if not even L is.

    Attributes:
        length: Longest context up to which all estimates are within the tolerance.
        certain: Longest context up to which all intervals are within the tolerance.
        possible: Longest context up to which some part of each interval is within the tolerance.
        longest: Longest context that was evaluated. If it equals `length`, the end was not found.
    """

    length: int
    certain: int
    possible: int
    longest: int

    def text(self, unit: int | None) -> str:
        """For reading, in units of the pretraining length if it is given: "4L", "4L [2L, >=32L]"."""
        ends = [self._text(n, unit) for n in (self.length, self.certain, self.possible)]
        return ends[0] if ends[1] == ends[2] else f"{ends[0]} [{ends[1]}, {ends[2]}]"

    def _text(self, length: int, unit: int | None) -> str:
        if not length:
            return "<1L"
        found = f"{length / unit:.3g}L" if unit else f"{length:,}"
        return f"≥{found}" if length == self.longest else found


def effective_contexts(
    experiment: Experiment, measure: Measure, tolerance: float = TOLERANCE
) -> dict[str, EffectiveContext]:
    """Effective context by arm, of those that were evaluated at the pretraining length and beyond.

    An arm is compared with itself at L, document by document if the lengths share documents: perplexity may be
    `tolerance` higher, a score that much lower. Intervals are those of the comparison, over seeds or over documents.
    Empty for a metric of which neither high nor low values are better.
    """
    metric = experiment.metric(measure)
    if not metric.better or metric.axis.key != "context_length":
        return {}
    found = {arm: _of_arm(experiment, arm, measure, tolerance) for arm in experiment.arms()}
    return {arm: effective for arm, effective in found.items() if effective}


def is_full_ruler(rows: list[dict], measure: Measure) -> bool:
    """Whether the rows are of all tasks of RULER. Its own rule then holds: a score above that of Llama-2-7B at 4k."""
    return measure == ("ruler", "accuracy") and len({row["at"].get("task") for row in rows}) >= FULL_RULER


def _of_arm(experiment: Experiment, arm: str, measure: Measure, tolerance: float) -> EffectiveContext | None:
    rows, metric = arm_rows(experiment, arm, measure), experiment.metric(measure)
    pretrained = {run.info.get("pretrain_length") for run in experiment.runs_of(arm)}
    start = pretrained.pop() if len(pretrained) == 1 else None
    at_start = [row for row in rows if row["context_length"] == start]
    beyond = sorted({row["context_length"] for row in rows if start and row["context_length"] > start})
    if start is None or not at_start or not beyond:
        return None
    start_score = score(at_start, metric)
    if not math.isfinite(start_score) or (metric.better == "higher" and not start_score):
        return EffectiveContext(0, 0, 0, beyond[-1])
    losses = [
        _losses(change_from(at_start, [r for r in rows if r["context_length"] == n], metric), metric) for n in beyond
    ]
    margin = tolerance if metric.logarithmic else tolerance * start_score
    if is_full_ruler(rows, measure):
        margin = start_score - RULER_SCORE
    first = start if margin >= 0 else 0
    certain, length, possible = (
        _last(first, [n for n, loss in zip(beyond, losses, strict=True) if not loss[end] <= margin], beyond)
        for end in ("most", "estimate", "least")
    )
    return EffectiveContext(length, certain, max(length, possible), beyond[-1])


def change_from(at_start: list[dict], rows: list[dict], metric: Metric) -> Estimate:
    """Rows against those at L of the same arm: document by document, or as a whole if they have different documents."""
    a, b = ({(row["seed"], row.get("dataset"), row["document"]) for row in some} for some in (rows, at_start))
    return (paired if a <= b or b <= a else unpaired)(rows, at_start, metric)


def _losses(change: Estimate, metric: Metric) -> dict[str, float]:
    """How much worse than at L: a share of a perplexity, points of a score; infinite if an end is unknown."""
    worse = [change.low, change.value, change.high]
    worse = [x - 1 for x in worse] if metric.logarithmic else worse
    worse = worse if metric.better == "lower" else [-x for x in reversed(worse)]
    least, estimate, most = (math.inf if math.isnan(x) else x for x in worse)
    return {"least": least, "estimate": estimate, "most": most}


def _last(start: int, failed: list[int], beyond: list[int]) -> int:
    """The last length before the first that failed."""
    return max([start, *(n for n in beyond if start and (not failed or n < failed[0]))])
