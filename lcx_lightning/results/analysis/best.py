"""The best of several arms, where it can be told: a paired test finds it better than each of the others.

The tests are two-sided at 1 - LEVEL each, and not corrected for the number of arms: that every one of them must reject
keeps the chance of a wrong choice at that level (Gutmann and Maymin, "Is the selected population the best?", Annals of
Statistics 15, 1987, for normal means of equal variance).
"""

from collections.abc import Mapping

from lcx_lightning.results.analysis.estimates import LEVEL, paired_sample, score
from lcx_lightning.results.metrics import Metric


def best_arm(rows: Mapping[str, list[dict]], metric: Metric) -> str | None:
    """The arm that is better than each of the others on the seeds and documents that both have; None if none is.

    Args:
        rows: Rows of one measure at one place, by arm. One without any that share a seed and a document with the best
            arm's leaves it undecided.
        metric: The metric of the rows.
    """
    scored = {arm: score(some, metric) for arm, some in rows.items() if any(row["n"] for row in some)}
    if not metric.better or len(scored) < 2:
        return None
    best, *others = sorted(scored, key=lambda arm: scored[arm], reverse=metric.better == "higher")
    return best if all(_is_better(rows[best], rows[other], metric) for other in others) else None  # the nearest first


def _is_better(rows: list[dict], others: list[dict], metric: Metric) -> bool:
    try:
        found = paired_sample(rows, others)
    except ValueError:  # they share no seed and document
        return False
    p_value = found.p_above(0) if metric.better == "higher" else found.p_below(0)
    return p_value <= (1 - LEVEL) / 2
