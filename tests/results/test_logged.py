"""What W&B is told of a run, from records alone."""

import json
import math

import pytest
from support.experiment_files import make_row, write_run

from lcx_lightning.results import records
from lcx_lightning.results.analysis.effective_context import effective_contexts
from lcx_lightning.results.analysis.estimates import estimates, paired
from lcx_lightning.results.logged import COLUMNS, by_length, by_place, cells, files, label, label_of_base, summary
from lcx_lightning.results.metrics import Measure

MEASURE = Measure("last_k")
KNOWN = {"arm": "pi", "method": "pi", "factor": 4.0, "seed": 1, "trained": True, "model": "embedded", "data": "sympy"}


@pytest.fixture
def run(tmp_path):
    """A run with perplexity at L, 2L and 4L, and passkeys at 4L at two depths."""
    extra = {"throughput": {"tokens": 10}, "device_seconds": 36.0, "not_evaluated": {"1024": "beyond its reach"}}
    extra["base"] = {"key": "b0", "seconds": 120.0, "validation_loss": 1.5}
    write_run(tmp_path, "pi", **extra)
    needles = [
        make_row(protocol="passkey", metric="accuracy", context_length=512, document=f"t{trial}", n=1)
        | {
            "value": int(depth < 0.5 or trial == 0),
            "at": {"depth": depth, "trial": trial, "distance": round(512 * (1 - depth))},
            "run": "pi-0",
        }
        for depth in (0.1, 0.5)
        for trial in range(2)
    ]
    records.append(tmp_path / "pi-0" / "records.jsonl", needles)
    return records.read_run(tmp_path / "pi-0")


@pytest.fixture
def alone(run):
    return records.Experiment(run.folder, {}, [run])


def rows_at(run, length):
    return [row for row in run.rows if row["protocol"] == "last_k" and row["context_length"] == length]


def test_numbers_are_those_of_the_report_by_tokens_and_by_multiples_of_the_pretraining_length(run, alone):
    told = summary(run)
    for (_, length), one in estimates(alone, MEASURE).items():
        multiple = f"perplexity/last_k/{length // 128}L"
        assert told[f"perplexity/last_k/{length}"] == told[multiple] == one.value
        assert (told[f"{multiple}/low"], told[f"{multiple}/high"]) == (one.low, one.high)


def test_ratios_are_over_the_own_perplexity_at_the_pretraining_length(run):
    told, metric = summary(run), run.metric(MEASURE)
    expected = paired(rows_at(run, 512), rows_at(run, 128), metric)
    assert told["ratio/last_k/4L"] == pytest.approx(math.exp(0.2))  # NLL grows by 0.1 a length
    assert told["ratio/last_k/4L"] == expected.value
    assert (told["ratio/last_k/4L/low"], told["ratio/last_k/4L/high"]) == (expected.low, expected.high)
    assert told["ratio/last_k/1L"] == 1


def test_effective_context_is_that_of_the_report_in_units_of_the_pretraining_length(run, alone):
    assert summary(run)["holds_to/last_k"] == effective_contexts(alone, MEASURE)["pi"].length / 128


def test_needles_are_told_by_depth(run):
    told = summary(run)
    assert told["accuracy/passkey/4L/depth_0.1"] == 100
    assert told["accuracy/passkey/4L/depth_0.5"] == 50
    assert told["k_max/passkey/4L"] == 461  # half of those at 256 tokens are found, and all at 461
    assert told["accuracy/passkey/4L"] == told["accuracy/passkey/512"] == 75


def test_costs_and_lengths_beyond_reach_are_told(run):
    told = summary(run)
    assert told["base/validation_loss"] == 1.5
    assert told["base/seconds"] == 120
    assert told["cost/device_seconds"] == 36
    assert told["throughput/tokens"] == 10
    assert told["not_evaluated/8L"] == "beyond its reach"


def test_history_has_one_row_for_a_length(run):
    rows = by_length(run)
    assert [(row["length"], row["multiple"]) for row in rows] == [(128, 1), (256, 2), (512, 4)]
    assert [row["cells/perplexity/last_k"] for row in rows] == [
        summary(run)[f"perplexity/last_k/{n}L"] for n in (1, 2, 4)
    ]
    assert [row.get("cells/accuracy/passkey") for row in rows] == [None, None, 75]


def test_history_has_the_ratios_of_the_summary(run):
    ratios = {row["multiple"]: row.get("cells/ratio/last_k") for row in by_length(run)}
    assert ratios == {n: summary(run)[f"ratio/last_k/{n}L"] for n in (1, 2, 4)}


def test_what_stands_by_something_else_than_length_has_a_row_for_each_place(run):
    assert by_place(run) == {}
    rows = [make_row(protocol="positions", value=8.0 * n, n=8, at={"position": 64 * n}) for n in (2, 1)]
    records.append(run.folder / "records.jsonl", rows)
    found = by_place(records.read_run(run.folder))
    assert [*found] == ["position"]
    assert [row["position"] for row in found["position"]] == [64, 128]
    shown = [row["by_position/perplexity/positions"] for row in found["position"]]
    assert shown == pytest.approx([math.e, math.e**2])


def test_files_are_those_of_the_run_and_its_experiment_and_name_no_place(run):
    info = {
        "wandb": {"id": "x"},
        "checkpoint": {"cache_dir": "/home/me"},
        "config": {"results_dir": "/home/me/results"},
    }
    records.write_json(run.folder / "run.json", run.info | info)
    records.write_json(run.folder.parent / "experiment.json", {"commands": ["lcx run results_dir=/home/me/results"]})
    told = files(run.folder)
    assert {*told} == {"pi-0/run.json", "pi-0/records.jsonl", "experiment.json"}
    assert not [name for name, text in told.items() if "/home/me" in text]
    assert json.loads(told["pi-0/run.json"]) == run.info | {"config": {"results_dir": "results"}}
    assert told["pi-0/records.jsonl"] == (run.folder / "records.jsonl").read_text()


def test_the_table_has_a_row_for_each_cell_with_the_knobs_of_the_arm(run):
    table = [dict(zip(COLUMNS, row, strict=True)) for row in cells(run)]
    assert [(row["protocol"], row["length"], row["depth"]) for row in table] == [
        ("last_k", 128, None),
        ("last_k", 256, None),
        ("last_k", 512, None),
        ("passkey", 512, None),
        ("passkey", 512, 0.1),
        ("passkey", 512, 0.5),
    ]
    assert {row["arm"] for row in table} == {"pi"}
    assert table[2]["shown"] == "perplexity"
    assert table[2]["value"] == summary(run)["perplexity/last_k/4L"]
    assert table[2]["n"] == 24


def test_a_run_without_rows_is_told_without_numbers(tmp_path):
    write_run(tmp_path, "pi", rows=False)
    empty = records.read_run(tmp_path / "pi-0")
    assert by_length(empty) == []
    assert not [name for name in summary(empty) if name.startswith("perplexity")]


def test_a_label_says_arm_factor_and_seed():
    assert label(KNOWN) == ("pi x4 s1", "fine-tuned", ["pi", "fine-tuned", "embedded", "sympy"])
    assert label(KNOWN | {"factor": None, "trained": False}).name == "pi s1"
    assert label(KNOWN | {"arm": "pi factor=4"}).name == "pi factor=4 s1"
    turned = ["width=0.5", "method.scaling.solver=rk4", "recipe=untouched", "factor=4", "seed=1", "method=pi"]
    assert label(KNOWN, turned).name == "pi x4 width=0.5 solver=rk4 recipe=untouched s1"
    assert label(KNOWN, ["recipe=pi"]).name == "pi x4 s1"
    assert label(KNOWN | {"arm": "pi width=0.5"}, ["width=0.5"]).name == "pi width=0.5 x4 s1"
    assert label(KNOWN | {"method": "clex+lm_infinite"}).tags[:2] == ["clex", "lm_infinite"]
    assert label_of_base(KNOWN) == ("base embedded s1", "base", ["base", "embedded", "sympy"])
