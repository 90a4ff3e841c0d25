"""Perplexities, ratios and their intervals, checked against numbers made by hand and against scipy."""

import math

import numpy as np
import pytest
import scipy.stats
from support.experiment_files import make_row, shown, write_run

from lcx_lightning.results import records
from lcx_lightning.results.analysis import estimates
from lcx_lightning.results.metrics import Measure, percentage, perplexity
from lcx_lightning.results.report import figures, tables
from lcx_lightning.results.report.terminal import TerminalTable

LAST_K = Measure("last_k")
NLL, ACCURACY = perplexity(), percentage("accuracy", trials=True)


def test_perplexity_weighs_by_tokens_not_by_documents():
    rows = [make_row(value=3.0, n=1), make_row(value=9.0, n=11, document="d1")]
    assert estimates.score(rows, NLL) == pytest.approx(math.e)  # 12 nats in 12 tokens
    for unfit in ([], [*rows, make_row(metric="accuracy")]):
        with pytest.raises(ValueError, match="of one metric is needed"):
            estimates.score(unfit, NLL)


def trials(outcomes, **changes):
    return [
        make_row(document=f"trial {i}", metric="accuracy", value=float(value), n=1, **changes)
        for i, value in enumerate(outcomes)
    ]


@pytest.mark.parametrize("successes", [0, 3, 10])
def test_the_interval_of_a_share_of_trials_is_wilsons(successes):
    found = estimates.estimate(trials([1] * successes + [0] * (10 - successes)), ACCURACY)
    oracle = scipy.stats.binomtest(successes, 10).proportion_ci(method="wilson")
    expected = [10 * successes, 100 * oracle.low, 100 * oracle.high]
    assert [found.value, found.low, found.high] == pytest.approx(expected, abs=1e-9)


def test_two_shares_are_compared_by_their_difference_on_the_same_trials():
    found = estimates.paired(trials([1, 1, 1, 0], seed=0), trials([1, 0, 1, 0], seed=0), ACCURACY)
    assert found.value == pytest.approx(25.0)
    assert found.low <= found.value <= found.high
    with pytest.raises(ValueError, match="of one metric"):
        estimates.paired(trials([1]), [make_row(document="trial 0")], ACCURACY)


def test_the_interval_over_seeds_is_scipys_t_interval_of_log_perplexity():
    nll = [1.0, 1.1, 1.3]
    rows = [make_row(seed=seed, value=40 * mean, n=40) for seed, mean in enumerate(nll)]
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(nll), scale=scipy.stats.sem(nll))
    found = estimates.estimate(rows, NLL)
    geometric_mean = math.prod(math.exp(mean) for mean in nll) ** (1 / 3)
    assert (found.value, found.low, found.high) == pytest.approx((geometric_mean, math.exp(low), math.exp(high)))
    assert (found.n_seeds, found.n_documents, found.n_scored) == (3, 1, 120)


def test_the_interval_of_one_seed_is_a_bootstrap_over_documents():
    generator = np.random.default_rng(1)
    nats, tokens = generator.normal(60, 10, size=200), generator.integers(20, 40, size=200)
    rows = [make_row(document=str(d), value=nats[d], n=int(tokens[d])) for d in range(200)]
    oracle = scipy.stats.bootstrap(
        (nats, tokens), lambda x, y, axis: x.sum(axis) / y.sum(axis), paired=True, vectorized=True, n_resamples=4000,
        method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    found = estimates.estimate(rows, NLL)
    width = oracle.high - oracle.low
    assert math.log(found.low) == pytest.approx(oracle.low, abs=0.1 * width)
    assert math.log(found.high) == pytest.approx(oracle.high, abs=0.1 * width)
    assert estimates.estimate(rows[::-1], NLL).low == pytest.approx(found.low)


def test_the_bootstrap_draws_documents_and_not_their_windows():
    rows = [make_row(document=str(d), value=5.0 + d % 3) for d in range(6)]
    halves = [
        row | {"value": row["value"] / 2, "n": 2.5, "at": {"window": window}} for row in rows for window in (0, 1)
    ]
    assert estimates.estimate(halves, NLL).low == pytest.approx(estimates.estimate(rows, NLL).low)


def test_one_document_of_one_seed_has_no_interval():
    found = estimates.estimate([make_row()], NLL)
    assert found.value == pytest.approx(math.exp(2))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_documents_of_two_datasets_with_one_name_are_two_documents():
    rows = [make_row(), make_row(dataset="books", value=20.0)]
    assert estimates.estimate(rows, NLL).n_documents == 2


def test_a_paired_ratio_is_free_of_what_documents_share():
    hard = np.random.default_rng(0).normal(2.0, 0.5, size=30)
    b = [make_row(document=str(d), value=5 * hard[d]) for d in range(30)]
    a = [row | {"value": row["value"] + 5 * math.log(1.1), "run": "clex-0", "arm": "clex"} for row in reversed(b)]
    ratio = estimates.paired(a, b, NLL)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert estimates.estimate(b, NLL).high / estimates.estimate(b, NLL).low > 1.2


def test_a_paired_ratio_over_seeds_is_scipys_interval_of_the_paired_t_test():
    base, change = [1.0, 1.4, 0.9], [0.10, 0.12, 0.05]
    b = [make_row(seed=seed, value=5 * nll) for seed, nll in enumerate(base)]
    a = [row | {"value": row["value"] + 5 * change[row["seed"]]} for row in b]
    test = scipy.stats.ttest_rel(np.add(base, change), base).confidence_interval()
    ratio = estimates.paired(a, [*b, make_row(seed=7), make_row(document="only in b", value=99.0)], NLL)
    expected = np.exp([np.mean(change), test.low, test.high])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx(tuple(expected))
    assert ratio.n_seeds == 3
    with pytest.raises(ValueError, match="share none"):
        estimates.paired(a, [make_row(seed=9)], NLL)


def test_documents_that_are_not_shared_are_drawn_apart():
    generator = np.random.default_rng(3)
    a = [make_row(document=f"a{i}", metric="f1", value=x, n=1) for i, x in enumerate(generator.uniform(0.4, 0.8, 50))]
    b = [make_row(document=f"b{i}", metric="f1", value=x, n=1) for i, x in enumerate(generator.uniform(0.2, 0.6, 40))]
    means = [np.array([row["value"] for row in rows]) for rows in (a, b)]
    error = 100 * math.hypot(*(scipy.stats.sem(values) for values in means))
    found = estimates.unpaired(a, b, percentage("F1"))
    assert found.value == pytest.approx(100 * (means[0].mean() - means[1].mean()))
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)


def test_an_unfinished_run_is_not_averaged_with_finished_ones(folder):
    write_run(folder, "pi", seed=2, nll=50.0, order=1, train_length=512, state="interrupted", reason="Ctrl-C")
    found = estimates.estimates(records.read_experiment(folder), LAST_K)
    assert found["pi", 128].n_seeds == 2
    assert found["pi", 128].value == pytest.approx(math.exp(0.92))  # seeds .90 and .92, documents +0, +.01, +.02


def test_places_ascend_in_whatever_order_rows_were_written(tmp_path):
    folder = tmp_path / "mine"
    write_run(folder, "pi", rows=False)
    rows = [make_row(arm="pi", context_length=n, value=2.0, n=1) for n in (512, 128, 256)]
    records.append(folder / "pi-0" / "records.jsonl", rows)
    experiment = records.read_experiment(folder)
    assert [place for _, place in estimates.estimates(experiment, experiment.measures()[0])] == [128, 256, 512]


def test_a_model_that_diverged_has_an_infinite_perplexity_and_no_place_in_the_figure(folder):
    write_run(folder, "boom", order=9, nll=1000.0)
    write_run(folder, "boom", seed=1, order=9, nll=1e6)
    experiment = records.read_experiment(folder)
    text = shown(TerminalTable(tables.length_table(experiment, LAST_K)))
    assert "inf" in text
    assert "boom" not in figures.length_figure(experiment, LAST_K).to_json()
