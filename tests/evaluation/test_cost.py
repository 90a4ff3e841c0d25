"""Cost by length: what is timed is a generation, warm-up does not count, and rows say the sums that they should."""

import itertools

import pytest
import torch
from support.losses_by_hand import Letters, all_rows
from support.refusals import COUNT, MULTIPLES, refusal
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation import cost as module
from lcx_lightning.evaluation import peak_memory
from lcx_lightning.evaluation.cost import Cost, timed_generation

L = 32  # tokens, pretraining length


def cost(**changes):
    settings = {"multiples": [1, 2], "new_tokens": 4, "warmup": 1, "repeats": 3, "split": "test", "seed": 0}
    return Cost(**settings | changes)


@pytest.fixture(scope="module")
def data():
    return LongContextData(Books(test=["ABCDEFGHIJ" * 20]), Letters(), CORPUS_ONLY)


@pytest.mark.parametrize("method", ["pretrained", "lm_infinite", "dynamic_ntk"])
def test_the_timed_generation_is_that_of_generate(extended, method):
    model, read = extended(method), []
    prompt = torch.randint(1, 60, (1, 60), generator=torch.Generator().manual_seed(0))
    wanted = model.generate(prompt, max_new_tokens=20, do_sample=False)
    hook = model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"]), with_kwargs=True
    )
    timed_generation(model, prompt, 20)
    hook.remove()
    assert torch.equal(torch.cat(read, dim=1), wanted)
    assert [ids.shape[1] for ids in read] == [60] + [1] * 20
    assert model.base_model.attached.planned_length == 0


def test_rows_are_sums_over_the_repeats_and_warm_up_does_not_count(data, extended, monkeypatch):
    clock = itertools.accumulate(itertools.chain([0, 100, 1000], itertools.repeat(2)))  # of the warm-up: 100 and 1,000
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(peak_memory, "peak_bytes", lambda call, device: call() and 4096)
    rows = all_rows(cost(multiples=[1]).work_units(data, L, None), extended("pretrained"))
    assert {row["metric"]: (row["value"], row["n"]) for row in rows} == {
        "prefill_seconds": (6.0, 3),
        "decode_seconds": (6.0, 12),
        "prefill_tokens_per_second": (3 * 28 / 2, 3),
        "decode_tokens_per_second": (3 * 4 / 2, 3),
        "peak_bytes": (4096, 1),
    }
    places = {(row["context_length"], row["details"]["new_tokens"], row["dataset"]) for row in rows}
    assert places == {(32, 4, "books/test")}


def test_every_length_in_reach_has_rows_that_were_measured(data, extended):
    work_units = cost(repeats=1).work_units(data, L, 70)
    rows = all_rows(work_units, extended("lm_infinite"))
    assert [{k: v for k, v in row.items() if k != "value"} for row in rows] == [
        row for p in work_units for row in p.rows
    ]
    assert {row["context_length"] for row in rows} == {32, 64}
    assert all(row["value"] > 0 for row in rows if row["metric"] != "peak_bytes")
    assert {row["context_length"] for unit in cost().work_units(data, L, 40) for row in unit.rows} == {32}


def test_a_machine_that_cannot_tell_memory_has_no_row_of_it(data, extended, monkeypatch):
    monkeypatch.setattr(peak_memory, "measurable", lambda: False)
    rows = all_rows(cost(multiples=[1], repeats=1).work_units(data, L, None), extended("pretrained"))
    assert [row["metric"] for row in rows] == [
        "prefill_seconds",
        "decode_seconds",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
    ]


def test_the_peak_of_a_call_is_what_it_takes_above_what_was_held():
    held = torch.ones(2**25)  # 128 MiB
    assert 60 * 2**20 < peak_memory.peak_bytes(lambda: torch.ones(2**24).sum() + held[0], held.device) < 90 * 2**20


def test_what_is_said_to_be_read_is_what_is_read(data, extended):
    model, read = extended("pretrained"), []
    model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    work_units = cost().work_units(data, L, None)
    all_rows(work_units, model)
    assert sum(read) == sum(one.texts * one.tokens for unit in work_units for one in unit.reads)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0])]
    + [({"new_tokens": 0}, COUNT), ({"repeats": 0}, COUNT), ({"warmup": -1}, "a whole number of at least 0")],
)
def test_a_cost_says_what_it_needs(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        cost(**changes)


def test_a_context_without_room_for_a_prompt_is_refused(data):
    with pytest.raises(ValueError, match=r"32 new tokens, but the shortest has 32 tokens\. Lower new_tokens"):
        cost(new_tokens=32).work_units(data, L, None)
