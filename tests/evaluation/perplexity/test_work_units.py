"""Work units of the perplexity protocols: how their rows come out, what they read, and what changes no number."""

from itertools import zip_longest

import pytest
from support.losses_by_hand import all_rows
from support.protocols import METHODS, PROTOCOLS, L, documents, joined, protocols, sliding, source, streaming

from lcx_lightning.evaluation.base import run, starting_again
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.results.records import identity


@pytest.fixture(scope="module")
def data():
    """Documents that hold three texts of 96 tokens, and one that holds none."""
    return source(300, 94, 97)


@pytest.fixture(params=METHODS)
def model(request, extended):
    return extended(request.param)


def test_a_row_of_a_stream_comes_out_before_the_stream_goes_on(data, extended):
    model, read = extended("lm_infinite"), []
    model.base_model.register_forward_pre_hook(lambda *_: read.append(1))
    rows = run(streaming().work_units(data, L, None), model, lambda row: False, lambda *_: None)
    assert [row["context_length"] for row in next(rows)] == [32]
    assert len(read) == 3  # passes of 13 tokens
    assert [row["context_length"] for row in next(rows)] == [64]
    assert len(read) == 5


def test_a_stream_that_was_cut_short_starts_again_and_writes_no_row_twice(data, extended):
    model, work_units = extended("lm_infinite"), streaming().work_units(data, L, None)
    whole = all_rows(work_units, model)
    kept = [{k: v for k, v in row.items() if k != "value"} for row in whole[:4]]
    assert starting_again(work_units, lambda row: row in kept) == 1
    assert starting_again(work_units, lambda row: False) == starting_again(work_units, lambda row: True) == 0
    assert starting_again(sliding().work_units(data, L, None), lambda row: row in kept) == 0
    rest = all_rows(work_units, model, lambda row: {k: v for k, v in row.items() if k != "value"} in kept)
    assert whole[:4] + rest == whole


def test_progress_counts_the_rows_of_streams_and_the_batches_of_others(data, extended):
    both, told = EvaluationSuite({"a": streaming(), "b": documents()}), []
    work_units = both.work_units(data, L, None)
    list(run(work_units, extended("pretrained"), lambda row: False, lambda *progress: told.append(progress)))
    parts = 3 * 3 + len(documents().work_units(data, L, None))
    assert told == [(i, parts) for i in range(parts + 1)]


# What changes nothing


def keyed(rows):
    return {identity(row): row["value"] for row in rows}


@protocols
def test_the_order_of_work_units_changes_no_number(data, model, protocol):
    work_units = protocol().work_units(data, L, None)
    forth, back = (keyed(all_rows(some, model)) for some in (work_units, work_units[::-1]))
    assert forth == back


@pytest.mark.parametrize("protocol", PROTOCOLS[:3], ids=lambda one: one.__name__)
def test_the_size_of_a_batch_changes_no_number(data, model, protocol):
    small, large = (keyed(all_rows(protocol(batch_tokens=n).work_units(data, L, None), model)) for n in (1, 10_000))
    assert small == pytest.approx(large, rel=1e-6)
    assert len(protocol(batch_tokens=1).work_units(data, L, None)) >= len(protocol().work_units(data, L, None))


def test_two_processes_compute_what_one_does_and_both_yield_equally_often(data, extended):
    model, every = extended("lm_infinite"), EvaluationSuite({one.__name__: one() for one in PROTOCOLS})
    work_units = every.work_units(data, L, None)
    (exclusive,), two = (
        [list(run(work_units, model, lambda row: False, lambda *_: None, (rank, ranks))) for rank in range(ranks)]
        for ranks in (1, 2)
    )
    assert len(two[0]) == len(two[1]) < len(exclusive)
    together = [row for parts in zip_longest(*two) for part in parts for row in part]
    assert keyed(together) == keyed(row for part in exclusive for row in part)
    assert len(together) == sum(map(len, exclusive))


@protocols
def test_texts_that_are_not_there_are_refused_and_those_that_just_reach_are_taken(protocol):
    if protocol is joined:
        return
    one = protocol(**{"windows" if protocol is streaming else "texts": 1})
    with pytest.raises(ValueError, match="longest is test-0 with 94 tokens"):
        one.work_units(source(94), L, None)
    for longer in (95, 96):
        assert all(
            row["at"]["window"] <= longer for unit in one.work_units(source(longer), L, None) for row in unit.rows
        )


@protocols
def test_what_is_said_to_be_read_is_what_is_read(data, extended, protocol):
    model, read = extended("pretrained"), []
    model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    work_units = protocol().work_units(data, L, None)
    assert read == []
    for unit in work_units:
        read.clear()
        all_rows([unit], model)
        assert sum(rows * tokens for rows, tokens in read) == sum(one.texts * one.tokens for one in unit.reads)
        assert max(rows for rows, _ in read) == max(one.rows for one in unit.reads)
        assert max(tokens for _, tokens in read) == max(min(one.tokens, one.chunk or one.tokens) for one in unit.reads)


@protocols
def test_seed_and_split_choose_the_texts(protocol):
    def rows(**changes):
        return [row for unit in protocol(**changes).work_units(both, L, None) for row in unit.rows]

    both = source(300, 394, 297, validation=[400, 301, 330])
    assert any(rows(seed=seed) != rows() for seed in range(1, 5))
    assert {row["dataset"] for row in rows(split="validation")} == {"books/validation"}
    assert {row["document"].partition("-")[0] for row in rows(split="validation")} <= {"validation"} | {"joined"}
