"""Intervals and p-values in closed form: Student's t over seeds, and Wilson's for a share."""

import math
from statistics import NormalDist

import numpy as np

LEVEL = 0.95  # confidence level of every interval


def t_interval(means: list[float]) -> tuple[float, float]:
    """Interval of the mean of some numbers by a t test."""
    with np.errstate(invalid="ignore"):
        half = _quantile(len(means) - 1) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return float(np.mean(means)) - half, float(np.mean(means)) + half


def t_p_value(values: np.ndarray) -> float:
    """The p-value of the mean of some numbers being above 0, by a t test."""
    from scipy.special import stdtr

    if not np.isfinite(values).all():
        return 1.0
    mean, spread = float(values.mean()), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(mean <= 0) if spread == 0 else float(stdtr(len(values) - 1, -mean / spread))


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, weight = successes / trials, z**2 / trials
    half = math.sqrt(weight * share * (1 - share) + weight**2 / 4)
    return (share + weight / 2 - half) / (1 + weight), (share + weight / 2 + half) / (1 + weight)


def _quantile(freedom: int) -> float:
    from scipy.special import stdtrit  # 0.5 s that `import lcx_lightning.results` should not cost

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
