"""Benchmarks compare what they say, and keep what they found. No test measures a speed."""

import html
import itertools
import json
import math
import os
import re
import sys
import types

import pytest
import torch
from support.memory_use import broken, freeing, holding
from transformers import DynamicCache, StaticCache

from experiments import bench, benchmarks
from experiments.benchmarks import attention, decode, measure, sliding
from experiments.benchmarks.measure import Comparison, Options, costs, faster, grows, interleaved, peak_bytes, smaller
from experiments.benchmarks.show import markdown_table


def test_every_alternative_runs_once_a_round_and_the_first_round_does_not_count():
    ran = []
    calls = {name: lambda name=name: ran.append(name) for name in "ab"}
    seconds = interleaved(calls, repeats=3)
    assert ran == ["a", "b"] * 4
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3}


def test_the_time_is_that_of_the_call(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(next(clock) ** 2))
    assert interleaved({"a": lambda: None}, repeats=2) == {"a": [4.0 - 1.0, 16.0 - 9.0]}


def test_a_ratio_is_the_median_over_rounds_with_the_least_and_the_largest():
    seconds = {"ours": [1.0, 2.0, 4.0], "theirs": [6.0, 8.0, 40.0]}
    row = faster("ours", "theirs", seconds, 5)
    assert (row.ratio, row.low, row.high, row.value, row.other) == (6.0, 4.0, 10.0, 2.0, 8.0)
    assert row.reached
    assert not faster("ours", "theirs", seconds, 7).reached
    row = costs("theirs", "ours", seconds, 6)
    assert (row.ratio, row.low, row.high, row.value, row.other) == (6.0, 4.0, 10.0, 8.0, 2.0)
    assert row.reached
    assert not costs("theirs", "ours", seconds, 5).reached


def test_a_share_of_memory_is_ours_over_theirs():
    row = smaller("ours", "theirs", {"ours": 2**20, "theirs": 2**22}, 0.25)
    assert (row.ratio, row.value, row.other, row.unit) == (0.25, 1.0, 4.0, "MiB")
    assert row.reached


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_the_slope_of_growth_is_its_power(power):
    sizes = (8, 16, 64)
    row = grows("ours", "itself", {n: [n**power, 3 * n**power, 2 * n**power] for n in sizes}, 1.1)
    assert (row.ratio, row.low, row.high) == pytest.approx((power, power, power))
    assert row.reached == (power <= 1.1)
    assert row.value / row.other == pytest.approx(8**power)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_call_and_not_of_what_was_held_before_it():
    peak = peak_bytes(holding, 64)
    assert 60 * 2**20 < peak < 90 * 2**20


def test_a_benchmark_prints_its_ratios_and_keeps_them(monkeypatch, tmp_path, capsys):
    row = Comparison("ours", "theirs", "s", 1.0, 6.0, 6.0, 5.5, 6.5, 5.0, at_least=True)
    told = []

    def run(options):
        told.append(options)
        return [row]

    name = "experiments.benchmarks.attention"
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(run=run))
    threads = str(torch.get_num_threads())
    options = ["--repeats", "3", "--quick", "--threads", threads, "--results-dir", str(tmp_path)]
    assert bench.main(["attention", *options]) == 0
    assert told == [Options(device="cpu", repeats=3, quick=True)]
    assert "reached" in capsys.readouterr().out
    kept = json.loads((tmp_path / "bench" / "attention.json").read_text())
    assert kept["comparisons"] == [row.as_row()]
    assert kept["quick"] is True
    assert kept["machine"]["torch"] == torch.__version__
    drawn = (tmp_path / "bench" / "attention.svg").read_text()
    assert "ours / theirs" in re.sub(r"\s+", " ", drawn)
    assert "6 (goal >= 5)" in html.unescape(re.sub(r"\s+", " ", drawn))


def test_the_markdown_of_benchmarks_says_what_was_reached_and_where_it_was_measured():
    fast = Comparison("ours", "theirs", "s", 1.0, 6.0, 6.0, 5.5, 6.5, 5.0, at_least=True)
    large = Comparison("our memory", "theirs", "MiB", 2468.0, 1234.5, 2.0, 2.0, 2.0, 0.25, at_least=False)
    on = {"cpu": "a processor", "threads": 2, "gpu": None, "torch": "2.13"}
    kept = {"benchmark": "attention", "machine": on, "comparisons": [fast.as_row(), large.as_row()]}
    lines = markdown_table([kept]).splitlines()
    assert lines[2:] == [
        "| `attention` | ours | theirs | 1 s / 6 s | 6 [5.5, 6.5] | >= 5 | reached |",
        "| `attention` | our memory | theirs | 2,468 MiB / 1,234 MiB | 2 | <= 0.25 | missed |",
        "",
        "* `attention`: a processor, 2 threads, torch 2.13",
    ]


@pytest.mark.slow
def test_freed_memory_does_not_count_and_the_environment_stays_as_it_was(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "7")
    assert 60 * 2**20 < peak_bytes(freeing, 64) < 90 * 2**20
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "7"
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ


@pytest.mark.slow
def test_the_environment_stays_as_it_was_where_a_measured_call_fails():
    before = dict(os.environ)
    with pytest.raises(ValueError, match="out of luck"):
        peak_bytes(broken)
    assert dict(os.environ) == before


def test_a_file_of_the_folder_is_a_benchmark_and_the_frame_is_none():
    assert "attention" in bench.offered()
    assert not set(bench.offered()) & {"measure", "models", "show"}
    assert benchmarks.__doc__ is not None


@torch.no_grad()
def test_the_alternative_that_holds_its_logits_attends_to_the_same_keys():
    tokens = 3 * attention.WINDOW
    torch.testing.assert_close(attention.materialised(tokens, "cpu")(), attention.banded(tokens, "cpu")())
    assert math.prod(attention.dense(64, "cpu")().shape) == 64 * attention.HEADS * attention.DIM


def test_the_dense_rivals_of_decoding_have_the_caches_that_they_are_named_for(monkeypatch):
    made = []
    monkeypatch.setattr(decode, "decode", lambda _, cache: made.append(cache))
    decode.dense(16, "cpu", DynamicCache())()
    decode.dense(16, "cpu", None)()
    assert [type(cache) for cache in made] == [DynamicCache, StaticCache]
    assert {int(cache.get_seq_length()) for cache in made} == {16}


def test_sliding_windows_and_the_obvious_loop_score_the_same(monkeypatch):
    small = {"small": {"layers": 1, "heads": 2, "dim": 16}}
    for name, value in (("MODELS", small), ("VOCABULARY", 100), ("WINDOW", 64), ("STRIDE", 16)):
        monkeypatch.setattr(sliding, name, value)
    ours, obvious = (
        make("small", 112, "cpu", how)() for make, how in ((sliding.ours, "sdpa"), (sliding.obvious, "eager"))
    )
    assert ours.shape == obvious.shape == (4,)
    torch.testing.assert_close(ours, obvious, atol=1e-5, rtol=0)
