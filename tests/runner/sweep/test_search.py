"""A search without a server: cells are drawn once, by any number of workers, bad ones end early, and it goes on."""

import json
import math
import re
import signal
from unittest.mock import ANY

import pytest
from rich.console import Console
from support.interrupted_runs import await_, end, start
from support.lab import TINY, TRAINING, arms_of, folders, results, runs
from support.sweeps import run_sweep, sweep_command, write_sweep

from lcx_lightning.runner.run_json import checksum, write_run
from lcx_lightning.runner.sweep.files import read_sweep
from lcx_lightning.runner.sweep.run import Request
from lcx_lightning.runner.sweep.search import Drawn, Feed
from lcx_lightning.runner.sweep.study import Study

pytestmark = pytest.mark.slow
FIXED = {
    "training": "finetune",
    "training.steps": 12,
    "training.rows": 2,
    "training.validation_steps": 1,
    "training.schedule.warmup": 1,
    "in_loop.every": 2,
    "method": "ntk",
}
RATE = {"distribution": "log_uniform_values", "min": 0.0001, "max": 1.0}
METRIC = {"name": "in_loop/last_k/nll/128", "goal": "minimize"}


def search(root, rate=RATE, **more):
    """Write the file of a search for a learning rate, and return its path."""
    fixed = {key: {"value": value} for key, value in FIXED.items()}
    asked = {"method": "bayes", "run_cap": 6, "metric": METRIC} | more
    return write_sweep(root, fixed | {"training.optimizer.lr": rate}, **asked)


def rates(root):
    """Return the learning rate and the state of every cell that has been run."""
    found = [run.info for run in runs(results(root)).values()]
    return sorted((info["config"]["training"]["optimizer"]["lr"], info["state"]) for info in found)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_goes_on_and_draws_what_one_command_would_have_drawn(method, tmp_path):
    parts = search(tmp_path / "parts", method=method)
    assert "2 of 6 cells have been drawn." in run_sweep(parts, tmp_path / "parts", "--count", 2, "jobs=1").stdout
    said = run_sweep(parts, tmp_path / "parts", "jobs=1").stdout
    assert "6 of 6 cells have been drawn." in said
    assert "best: cell " in said
    whole = search(tmp_path / "whole", method=method)
    assert run_sweep(whole, tmp_path / "whole", "jobs=1").returncode == 0
    assert rates(tmp_path / "parts") == rates(tmp_path / "whole")
    assert len(set(rates(tmp_path / "whole"))) == 6
    again = run_sweep(whole, tmp_path / "whole")
    assert (again.returncode, again.stdout.count("6 of 6 cells have been drawn.")) == (0, 1)
    assert len(rates(tmp_path / "whole")) == 6


def test_cells_of_a_killed_worker_are_taken_over_and_none_is_drawn_twice(tmp_path):
    path = search(tmp_path, method="random")
    words = sweep_command(path, tmp_path, "jobs=1")
    workers = [start(tmp_path, words=words, said=said) for said in ("said.txt", "other.txt")]
    await_(workers[0], tmp_path, lambda: [*(tmp_path / "results").glob("*/*/run.json")])
    end(workers[0], signal.SIGKILL, tmp_path)
    assert workers[1].wait(timeout=240) == 0
    assert run_sweep(path, tmp_path).returncode == 0  # what the other worker had passed by before that one died
    assert len(rates(tmp_path)) == 6
    assert {state for _, state in rates(tmp_path)} == {"finished"}


def test_hyperband_ends_bad_cells_early_and_keeps_good_ones(tmp_path):
    rate = {"values": [0.01, 0.003, 0.00001, 0.00002, 0.00003, 0.00004]}
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    path = search(tmp_path, rate=rate, method="random", run_cap=12, early_terminate=early)
    done = run_sweep(path, tmp_path, "jobs=1", "training.steps=240", "in_loop.every=60")
    states = dict(rates(tmp_path))
    assert "stopped" in done.stdout, done.stdout + done.stderr
    assert all(state == "finished" for rate, state in states.items() if rate > 0.001), states
    stopped = [run for run in runs(results(tmp_path)).values() if run.info["state"] == "interrupted"]
    assert all("stopped early: in_loop/last_k/nll/128 is worse" in run.info["reason"] for run in stopped)


def factors(root, *values, **more):
    """Write the file of a search for a factor without training, and return its path."""
    asked = {"method": "random", "run_cap": 1, "metric": {"name": "perplexity/last_k/2L", "goal": "minimize"}}
    parameters = {"method": {"value": "pi"}, "factor": {"values": list(values or (2, 3))}}
    return write_sweep(root, more.pop("parameters", parameters), **asked | more)


def test_a_search_with_other_values_is_another_search(tmp_path):
    path = factors(tmp_path)
    assert "best: cell 0" in run_sweep(path, tmp_path, "jobs=1").stdout
    assert "0 of 1 cells have been drawn." in run_sweep(path, tmp_path, "--dry-run", "seed=1").stdout
    assert (
        "1 of 1 cells have been drawn."
        in run_sweep(path, tmp_path, "--dry-run", "jobs=2", "report.against=null").stdout
    )
    assert "best: cell 0" in run_sweep(path, tmp_path, "jobs=1", "seed=1").stdout
    assert len(runs(results(tmp_path))) == 2


def test_a_dry_run_writes_nothing(tmp_path):
    path = factors(tmp_path)
    run_sweep(path, tmp_path, "jobs=1")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "results").rglob("*")}
    done = run_sweep(path, tmp_path, "--dry-run", "seed=1")
    assert "0 of 1 cells have been drawn." in done.stdout, done.stdout + done.stderr
    assert "1 of 1 cells have been drawn." in run_sweep(path, tmp_path, "--dry-run").stdout
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "results").rglob("*")} == before


def test_a_search_says_why_a_cell_has_no_result_and_fails(tmp_path):
    path = factors(tmp_path, 2, -1, run_cap=3)  # which are drawn in the order -1, -1, 2
    done = run_sweep(path, tmp_path, "jobs=1")
    assert (done.returncode, "best: cell 2" in done.stdout) == (1, True), done.stdout + done.stderr
    again = run_sweep(path, tmp_path, "--dry-run").stdout
    assert re.findall(r"(\d) +(failed|finished) .*factor=(-?\d)(.*factor must be)?", again) == [
        ("0", "failed", "-1", ANY),
        ("1", "failed", "-1", ANY),
        ("2", "finished", "2", ""),
    ]
    assert again.count("factor must be") == 2
    only = factors(tmp_path / "only", 2, -1)
    done = run_sweep(only, tmp_path / "only", "jobs=1")
    assert (done.returncode, "no report was made" in done.stdout) == (1, False), done.stdout + done.stderr


def test_a_cell_of_a_search_that_equals_pretrained_is_no_failure(tmp_path):
    done = run_sweep(factors(tmp_path, 2, 1), tmp_path, "jobs=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"0 +skipped .*factor=1 +equals pretrained", done.stdout)


def test_a_search_computes_cells_that_are_not_trained_beside_those_that_are(tmp_path):
    recipes = {"recipe": {"values": ["pi", "lm_infinite"]}}  # the second is drawn
    path = factors(tmp_path, parameters=recipes)
    done = run_sweep(path, tmp_path, "jobs=1", *TRAINING)
    assert (done.returncode, "best: cell 0" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(("value", "said"), [(math.nan, "its train/loss is nan"), (None, "it logged no train/loss")])
def test_a_cell_without_a_number_is_a_failed_one_and_its_worker_goes_on(tmp_path, value, said):
    """Real studies and feeds; the curve of the run is written here, and no arm is run."""
    sweep = read_sweep(factors(tmp_path, 2, metric={"name": "train/loss", "goal": "minimize"}))
    study = Study(sweep, "first", tmp_path, 1, 0)
    (arm,) = arms_of("method=pi", "factor=2", "training=finetune", *TINY, *TRAINING, *folders(tmp_path))
    arm.folder.mkdir(parents=True)
    (arm.folder / "records.jsonl").write_text("")
    write_run(arm, "finished", records=checksum(arm.folder / "records.jsonl"))
    trained = arm.cache("extend", arm.extend_key)
    trained.mkdir(parents=True)
    (trained / "curves.jsonl").write_text(json.dumps({"step": 1, "train/loss": value} if value else {"step": 1}) + "\n")
    asked = Request(sweep, "", None, False, False)
    feed = Feed(asked, None, study, None, Console(quiet=True))
    feed._open.append(Drawn(study.take(), "factor=2", arm, []))
    feed._look_at(feed._open[0])
    (cell,) = study.cells()
    assert (cell.state.name, cell.user_attrs["reason"], feed._open) == ("FAIL", said, [])
