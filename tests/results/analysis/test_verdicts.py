"""Verdicts on statements about a mean, against scipy's tests and Holm's definition."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lcx_lightning.results.analysis.estimates import Sample
from lcx_lightning.results.analysis.verdicts import Bounds, holm, verdicts

SEEDS = [0.11, 0.19, 0.14]
LEVEL = 0.025


@pytest.mark.parametrize("bound", [-0.3, 0.1, 0.14, 0.2, 5.0])
def test_p_values_over_seeds_are_those_of_a_t_test(bound):
    sample = Sample(SEEDS)
    assert sample.p_above(bound) == pytest.approx(ttest_1samp(SEEDS, bound, alternative="greater").pvalue)
    assert sample.p_below(bound) == pytest.approx(ttest_1samp(SEEDS, bound, alternative="less").pvalue)


def test_seeds_that_agree_exactly_are_above_what_is_below_them():
    assert Sample([0.2, 0.2]).p_above(0.1) == 0
    assert Sample([0.2, 0.2]).p_above(0.2) == Sample([0.2, 0.2]).p_above(0.3) == 1


def test_p_values_of_one_seed_are_shares_of_the_draws_of_a_bootstrap():
    sample = Sample([0.5], np.linspace(0, 1, 1001))
    assert sample.p_above(0.1) == pytest.approx(102 / 1002)
    assert sample.p_below(0.9) == pytest.approx(102 / 1002)
    assert sample.p_above(-1) == pytest.approx(1 / 1002)


@pytest.mark.parametrize("sample", [Sample([1.0]), Sample([1.0], np.array([1.0, math.nan])), Sample([1.0, math.inf])])
def test_nothing_is_known_where_nothing_can_be_resampled(sample):
    assert sample.p_above(-10) == sample.p_below(10) == 1


def test_alone_a_statement_is_reproduced_where_the_whole_interval_lies_inside():
    for seeds, bounds in itertools.product(
        [[0.1, 0.11, 0.12], [0.0, 0.2, 0.4], [-1.0, -1.1, -0.9], [0.045, 0.05, 0.055]],
        [Bounds(0.0), Bounds(most=0.2), Bounds(-0.05, 0.05), Bounds(-0.2, 0.3)],
    ):
        sample = Sample(seeds)
        low, high = sample.interval()
        inside = bounds.least < low and high < bounds.most
        outside = high < bounds.least or low > bounds.most
        ((verdict, _),) = verdicts([bounds.p_inside(sample)], [bounds.p_outside(sample)])
        assert (verdict == "reproduced") == inside
        if verdict == "not reproduced":
            assert outside
        if outside and math.isinf(bounds.most - bounds.least):
            assert verdict == "not reproduced"


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03, 0.005], [0.2, 0.2], [0.9], [], [0.02, 0.02, 0.02, 0.6]])
def test_holm_rejects_what_its_steps_reject(p_values):
    for level in (0.01, 0.025, 0.05, 0.11, 0.5):
        left, rejected = sorted(p_values), 0
        while left and left[0] <= level / len(left):
            left.pop(0)
            rejected += 1
        assert sum(p <= level for p in holm(p_values)) == rejected
    assert all(a >= p for a, p in zip(holm(p_values), p_values, strict=True))


def test_a_statement_that_stands_alone_may_not_stand_among_many():
    assert verdicts([0.01], [1.0]) == [("reproduced", 0.01)]
    said = verdicts([0.01, 0.5, 0.5], [1.0, 1.0, 1.0])
    assert [verdict for verdict, _ in said] == ["not distinguishable"] * 3
    assert [p for _, p in said] == pytest.approx([0.03, 1.0, 1.0])


@pytest.mark.parametrize("ends", [(), (1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_bounds_that_say_nothing_are_refused(ends):
    with pytest.raises(ValueError, match="needs a bound"):
        Bounds(*ends)
