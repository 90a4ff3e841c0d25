"""The best arm is named only where every paired comparison tells it from the others."""

import numpy as np
import pytest
from support.experiment_files import make_row

from lcx_lightning.results.analysis.best import best_arm
from lcx_lightning.results.metrics import percentage, perplexity

NLL, SCORE = perplexity(), percentage("accuracy", trials=True)


def rows(nll, seeds=(0,), documents=12, noise=0.0, place=0):
    """Rows whose NLL per token differs much between documents, and from that of another arm by about a constant."""
    own = np.random.default_rng(place).normal(0, noise, (len(seeds), documents))
    return [
        make_row(seed=seed, document=f"d{d}", value=8 * (nll + d / 4 + own[i, d]), n=8)
        for i, seed in enumerate(seeds)
        for d in range(documents)
    ]


def test_an_arm_is_best_by_a_difference_that_its_own_interval_hides():
    """Documents differ by far more than arms: the intervals overlap, and the paired ones do not."""
    found = {"a": rows(1.0, noise=0.01, place=1), "b": rows(1.1, noise=0.01, place=2), "c": rows(1.5)}
    assert best_arm(found, NLL) == "a"


def test_two_that_cannot_be_told_apart_leave_none_best_however_bad_others_are():
    found = {"a": rows(1.0, noise=0.5, place=1), "b": rows(1.01, noise=0.5, place=2), "c": rows(9.0)}
    assert best_arm(found, NLL) is None
    assert best_arm({"a": rows(1.0), "b": rows(1.0), "c": rows(9.0)}, NLL) is None, "equal"


@pytest.mark.parametrize(("second", "best"), [([1.3, 1.2, 1.25], "a"), ([1.3, 0.99, 1.6], None)])
def test_with_several_seeds_the_seeds_decide(second, best):
    a = [row for seed in range(3) for row in rows(1.0 + seed / 100, seeds=(seed,))]
    b = [row for seed in range(3) for row in rows(second[seed], seeds=(seed,))]
    assert best_arm({"a": a, "b": b}, NLL) == best


def test_the_higher_score_is_the_better_one():
    def trials(rate):
        return [make_row(metric="accuracy", document=f"t{i}", value=float(i < 20 * rate), n=1) for i in range(20)]

    assert best_arm({"a": trials(0.2), "b": trials(0.9)}, SCORE) == "b"
    assert best_arm({"a": trials(0.85), "b": trials(0.9)}, SCORE) is None


def test_one_alone_and_arms_without_common_documents_are_not_best():
    other = [row | {"document": f"other {row['document']}"} for row in rows(9.0)]
    assert best_arm({"a": rows(1.0)}, NLL) is None
    assert best_arm({"a": rows(1.0), "b": other}, NLL) is None
    assert best_arm({"a": rows(1.0, documents=1), "b": rows(9.0, documents=1)}, NLL) is None, "nothing to resample"


def test_of_equal_arms_one_is_named_best_in_at_most_a_twentieth_of_studies():
    named = 0
    for study in range(100):
        arms = {f"arm {i}": rows(1.0, documents=30, noise=0.3, place=10 * study + i) for i in range(4)}
        named += best_arm(arms, NLL) is not None
    assert named <= 11, "five percent of 100 are 5, and 11 are exceeded with a chance of 0.4%"
