"""Weights & Biases beside the records: the same numbers, read back with W&B's own tool."""

import json
import subprocess
import sys

import pytest
from support.lab import TINY, TRAINING, environment, folders, launch, results, runs

from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.logged import COLUMNS, by_length, cells, summary


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A fine-tuned arm that was logged without a key: the launch, its records, and what W&B says it was told."""
    root = tmp_path_factory.mktemp("wandb")
    places = {name: str(root / name) for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    arm = ["method=pi", "training=finetune", *TINY, *TRAINING, "training.steps=10", "logger=wandb", *folders(root)]
    done = launch(*arm, **places)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results(root)).values()
    (file,) = (root / "results" / "wandb").glob(f"offline-run-*/run-{run.info['run']}-*.wandb")
    return run, entries_of(file, places), file


def entries_of(file, places):
    """Return what W&B's own tool reads in a file."""
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    said = subprocess.run(inspect, env=environment(**places), capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in said.stdout.splitlines()]


def told(entries, kind):
    """Return the values of all entries of a kind, later ones over earlier ones."""
    values = {}
    for entry in entries:
        if entry["type"] == kind:
            values |= entry[kind]["update"]
    return values


@pytest.mark.slow
def test_the_run_bears_the_id_of_the_records_and_ended_well(logged):
    run, entries, file = logged
    assert file.stem == f"run-{run.info['wandb']['id']}"
    assert file.stem.startswith(f"run-{run.info['run']}-")
    assert [entry["exit"]["exit_code"] for entry in entries if entry["type"] == "exit"] == [0]
    assert run.finished


@pytest.mark.slow
def test_run_json_names_the_run_and_the_command_that_uploads_it(logged):
    run, _, file = logged
    folder = str(file.parent)
    name, sync = file.stem.removeprefix("run-"), f"wandb sync {folder}"
    expected = {"id": name, "url": None, "mode": "offline", "folder": folder, "sync": sync}
    assert run.info["wandb"] == expected


@pytest.mark.slow
def test_the_configuration_is_the_resolved_one_under_one_key_and_the_knobs_under_another(logged):
    run, entries, _ = logged
    config = next(entry["run"]["config"]["update"] for entry in entries if entry["type"] == "run")
    assert {name for name in config if name != "_wandb"} == {"cfg", "lcx"}
    of_person = ("results_dir", "cache_dir", "jobs", "logger")
    assert config["cfg"] == {name: value for name, value in run.info["config"].items() if name not in of_person}
    assert config["cfg"]["method"]["positions"]["factor"] == 2
    later = {"parameters": None, "trained_parameters": None}  # which the arm does not know before it runs
    assert config["lcx"] == knobs(run.info) | later | {"sweep": None}


@pytest.mark.slow
def test_the_label_says_what_the_run_is(logged):
    _, entries, _ = logged
    said = next(entry["run"] for entry in entries if entry["type"] == "run")
    assert (said["display_name"], said["run_group"]) == ("pi x2 s0", "embedded-sympy")
    assert (said["job_type"], said["project"]) == ("fine-tuned", "lcx-lightning")
    assert said["tags"] == ["pi", "fine-tuned", "embedded", "sympy"]


@pytest.mark.slow
def test_the_summary_holds_what_the_records_give(logged):
    run, entries, _ = logged
    held = told(entries, "summary")
    expected = summary(run)
    assert {name: held[name] for name in expected} == expected
    assert held["status"] == "finished"
    assert held["throughput/tokens"] == 10 * 2 * 128
    assert min(held[f"train/{name}"] for name in ("tokens_per_second", "grad_norm", "lr/weights")) > 0


@pytest.mark.slow
def test_the_history_holds_a_row_for_each_length(logged):
    run, entries, _ = logged
    history = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    rows = [item for item in history if "length" in item]
    expected = by_length(run)
    assert [{name: row[name] for name in one} for row, one in zip(rows, expected, strict=True)] == expected


@pytest.mark.slow
def test_the_table_holds_every_cell(logged):
    run, _, file = logged
    (path,) = (file.parent / "files").rglob("cells*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == list(COLUMNS)
    assert table["data"] == cells(run)


@pytest.mark.slow
def test_the_base_is_a_run_of_its_own_with_its_curves(logged, tmp_path):
    run, _, file = logged
    (base,) = file.parent.parent.glob(f"offline-run-*/run-{run.info['base']['key']}-*.wandb")
    entries = entries_of(base, {"HOME": str(tmp_path)})
    said = next(entry["run"] for entry in entries if entry["type"] == "run")
    assert (said["display_name"], said["job_type"]) == ("base embedded s0", "base")
    held = told(entries, "summary")
    assert held["base/validation_loss"] == run.info["base"]["validation_loss"]
    assert "validation/loss" in held


@pytest.mark.slow
def test_the_curves_of_training_are_there(logged):
    _, entries, _ = logged
    history = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    assert any("train/loss" in item for item in history)
    assert any("validation/loss" in item for item in history)
