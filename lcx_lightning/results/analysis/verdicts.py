"""Verdicts on statements about a mean: reproduced, not reproduced, or not distinguishable, several of them corrected.

A statement is that a mean lies within bounds. It is reproduced if a test rejects that the mean lies outside, which for
two bounds is a test of equivalence (two one-sided tests, doi:10.1007/BF01068419), and not reproduced if a test rejects
that it lies inside. Of several statements the p-values are corrected by Holm's method (1979).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lcx_lightning.results.analysis.estimates import LEVEL, Sample

REPRODUCED, NOT_REPRODUCED, NOT_DISTINGUISHABLE, NOT_TESTED = (
    "reproduced",
    "not reproduced",
    "not distinguishable",
    "not tested",
)


@dataclass(frozen=True)
class Bounds:
    """What a statement says of a mean: that it is above `least` and below `most`.

    Raises:
        ValueError: If it says nothing.
    """

    least: float = -math.inf
    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.least < self.most or (math.isinf(self.least) and math.isinf(self.most)):
            raise ValueError(f"A statement needs a bound, and the lower one below the upper one, got {self}.")

    def p_inside(self, sample: Sample) -> float:
        """The p-value of the mean being inside."""
        above = 0.0 if math.isinf(self.least) else sample.p_above(self.least)
        below = 0.0 if math.isinf(self.most) else sample.p_below(self.most)
        return max(above, below)

    def p_outside(self, sample: Sample) -> float:
        """The p-value of the mean being outside, on either side."""
        found = [] if math.isinf(self.least) else [sample.p_below(self.least)]
        found += [] if math.isinf(self.most) else [sample.p_above(self.most)]
        return min(1.0, len(found) * min(found))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted so that the chance of any false rejection among them is at most that of one."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def verdicts(inside: Sequence[float], outside: Sequence[float]) -> list[tuple[str, float]]:
    """The verdict on each of several statements, from the p-values of its mean being inside its bounds, and outside.

    Beside it is the corrected p-value of the test that came closer to rejecting.

    Tests are one-sided at half of 1 - LEVEL: alone, a statement is reproduced where the whole interval lies inside.
    """
    level = (1 - LEVEL) / 2
    found = []
    for holds, fails in zip(holm(inside), holm(outside), strict=True):
        assert not (holds <= level and fails <= level)
        verdict = REPRODUCED if holds <= level else NOT_REPRODUCED if fails <= level else NOT_DISTINGUISHABLE
        found.append((verdict, min(holds, fails)))
    return found
