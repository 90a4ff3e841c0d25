"""Effective context: the longest context that is within the tolerance of L, checked against cases made by hand."""

import math

import pytest
from support.experiment_files import make_row, write_run

from lcx_lightning.results import records
from lcx_lightning.results.analysis.effective_context import effective_contexts
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report.tables import length_table

L = 128


def contexts(folder, values, metric="nll", documents=4, spread=0.0):
    """Return the effective context of one arm whose mean value is `values` at L, 2L ..., the last document higher."""
    write_run(folder, "arm", rows=False)
    shared = {"run": "arm-0", "arm": "arm", "metric": metric, "n": 1}
    for i, value in enumerate(values):
        rows = [
            make_row(
                **shared, context_length=L * 2**i, document=f"d{d}", value=value + (spread if d == 3 and i else 0.0)
            )
            for d in range(documents)
        ]
        records.append(folder / "arm-0" / "records.jsonl", rows)
    return effective_contexts(records.read_experiment(folder), Measure("last_k", metric)).get("arm")


@pytest.mark.parametrize(
    ("ratios", "times"), [([1.04, 1.06, 1.0], 2), ([1.06, 1.0], 1), ([0.9, 1.049, 1.04], 8), ([1e300], 1)]
)
def test_perplexity_may_be_a_twentieth_higher_than_at_l_and_no_later_length_mends_a_worse_one(tmp_path, ratios, times):
    found = contexts(tmp_path, [1.0, *(1.0 + math.log(ratio) for ratio in ratios)])
    assert (found.length, found.certain, found.possible) == (times * L,) * 3
    assert found.longest == L * 2 ** len(ratios)


def test_the_interval_says_up_to_where_it_is_sure_and_up_to_where_it_may_be(tmp_path):
    found = contexts(tmp_path, [1.0, 1.0, 1.02, 1.5], spread=0.08)  # means +.02 and +.04, single documents to +.10
    assert (found.length, found.certain, found.possible) == (4 * L, L, 4 * L)
    assert found.text(L) == "4L [1L, 4L]"
    assert found.text(None) == "512 [128, 512]"


def test_a_score_may_be_a_twentieth_lower(tmp_path):
    found = contexts(tmp_path, [0.8, 0.77, 0.75, 0.8], metric="f1")
    assert found.length == 2 * L
    assert "≥" not in found.text(L)


def test_what_holds_to_the_longest_length_says_that_the_end_was_not_found(tmp_path):
    assert contexts(tmp_path, [1.0, 1.0, 1.0]).text(L) == "≥4L"


def test_one_document_has_no_sure_end_but_an_estimate(tmp_path):
    found = contexts(tmp_path, [1.0, 1.0, 1.1], documents=1)
    assert (found.length, found.certain, found.possible) == (2 * L, L, 2 * L)


@pytest.mark.parametrize(("tasks", "expected"), [(13, "2L"), (12, "4L")])
def test_the_whole_of_ruler_is_judged_by_its_own_threshold_and_a_part_of_it_by_itself(tmp_path, tasks, expected):
    write_run(tmp_path, "arm", rows=False)
    shared = {"run": "arm-0", "arm": "arm", "protocol": "ruler", "metric": "accuracy", "n": 1}
    for times, value in ((1, 0.87), (2, 0.86), (4, 0.85), (8, 0.7)):
        rows = [
            make_row(**shared, context_length=times * L, document=f"{t}", at={"task": f"{t}"}, value=value)
            for t in range(tasks)
        ]
        records.append(tmp_path / "arm-0" / "records.jsonl", rows)
    measure = Measure("ruler", "accuracy")
    assert effective_contexts(records.read_experiment(tmp_path), measure)["arm"].text(L) == expected
    weak = [row | {"value": row["value"] - 0.1} for row in records.read(tmp_path / "arm-0" / "records.jsonl")]
    records.append(tmp_path / "arm-0" / "records.jsonl", weak)
    text = effective_contexts(records.read_experiment(tmp_path), measure)["arm"].text(L)
    assert text == ("<1L" if tasks == 13 else "4L")


def test_a_score_of_nothing_at_l_holds_to_nothing(tmp_path):
    found = contexts(tmp_path, [0.0, 0.0, 0.0], metric="f1")
    assert (found.length, found.text(L)) == (0, "<1L")
    experiment = records.read_experiment(tmp_path)
    notes = length_table(experiment, Measure("last_k", "f1")).notes
    assert any(note.endswith("<1L: at L itself there is nothing that could hold.") for note in notes)


def test_trials_of_which_some_are_shared_with_l_are_compared_as_a_whole(tmp_path):
    write_run(tmp_path, "arm", rows=False)
    shared = {"run": "arm-0", "arm": "arm", "metric": "accuracy", "n": 1}
    for length in (L, 2 * L, 4 * L):  # found up to a distance of L alone
        rows = [
            make_row(**shared, context_length=length, document=f"distance {k}", value=float(k <= L))
            for k in range(length // 8, length + 1, length // 8)
        ]
        records.append(tmp_path / "arm-0" / "records.jsonl", rows)
    found = effective_contexts(records.read_experiment(tmp_path), Measure("last_k", "accuracy"))["arm"]
    assert found.length == L


def test_what_is_neither_better_high_nor_low_or_was_measured_at_one_length_holds_to_nothing(tmp_path):
    assert contexts(tmp_path / "entropy", [1.0, 1.0], metric="attention_entropy") is None
    assert contexts(tmp_path / "one", [1.0]) is None


def test_a_length_with_more_documents_is_compared_on_those_that_l_has_too(tmp_path):
    write_run(tmp_path, "arm", rows=False)
    shared = {"run": "arm-0", "arm": "arm", "metric": "nll", "n": 1}
    at_start = [make_row(**shared, context_length=L, document=f"d{d}", value=d + 1.0) for d in range(4)]
    beyond = [row | {"context_length": 2 * L} for row in at_start]
    beyond.append(make_row(**shared, context_length=2 * L, document="d4", value=9.0))
    records.append(tmp_path / "arm-0" / "records.jsonl", at_start + beyond)
    found = effective_contexts(records.read_experiment(tmp_path), Measure("last_k"))["arm"]
    assert found.length == found.certain == 2 * L


@pytest.mark.parametrize("metric", ["nll", "accuracy"])
@pytest.mark.parametrize("values", [[math.nan, math.nan], [math.nan, 1.0], [1.0, math.nan], [math.nan, math.nan, 0.1]])
def test_what_is_no_number_holds_to_nothing(tmp_path, metric, values, monkeypatch):
    """No comparison with nan is true, and none may be taken for one that holds, should a record ever have it."""
    monkeypatch.setattr(records, "check_row", lambda *_: None)
    found = contexts(tmp_path, values, metric)
    expected = 0 if math.isnan(values[0]) else L
    assert (found.length, found.certain, found.possible) == (expected,) * 3
