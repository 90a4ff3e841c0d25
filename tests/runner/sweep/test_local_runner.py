"""A sweep without a server: the runs that agents would make, one report, and cells that fail."""

import json
import shutil

import pytest
from support.lab import TINY, folders, launch, numbers, results, runs
from support.sweeps import run_sweep, write_sweep

from lcx_lightning.results import records

pytestmark = pytest.mark.slow
GRID = {
    "method": {"value": "lm_infinite"},
    "window": {"values": [16, 32]},
    "distance_limit": {"values": [32, "null"]},
    "seed": {"values": [0, 2]},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder in which a sweep has been run: two cells by one command, then the others by another."""
    root = tmp_path_factory.mktemp("whole")
    path = write_sweep(root, GRID)
    first = run_sweep(path, root, "--count", "2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(runs(results(root))) == 2
    assert "# to run the 6 cells that are left" in first.stdout
    second = run_sweep(path, root)
    assert second.returncode == 0, second.stdout + second.stderr
    return root


def test_every_cell_is_finished_and_they_are_one_experiment(whole):
    experiment = records.read_experiment(results(whole))
    assert {run.info["state"] for run in experiment.runs} == {"finished"}
    assert len(experiment.runs) == 8
    assert experiment.seeds() == [0, 2]
    assert experiment.arms() == [
        f"lm_infinite window={window} distance_limit={limit}" for limit in (32, "none") for window in (16, 32)
    ]
    assert (results(whole) / "index.html").exists()


def test_a_dry_run_lists_the_cells_and_runs_nothing(whole, tmp_path):
    path = write_sweep(tmp_path, GRID)
    said = run_sweep(path, tmp_path, "--dry-run").stdout
    assert "8 cells: 8 waiting." in said
    assert "here is known when one has finished" in said
    assert not (tmp_path / "results").exists()
    assert "8 cells: 8 finished." in run_sweep(whole / "small.yaml", whole, "--dry-run").stdout


def test_a_cell_is_the_run_of_an_agent_with_its_numbers(whole, tmp_path):
    words = ["method=lm_infinite", "window=32", "distance_limit=null", "seed=2", "experiment=small"]
    done = launch(*words, *TINY, *folders(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    ((name, alone),) = runs(results(tmp_path)).items()
    here = runs(results(whole))[name]
    assert numbers(here) == numbers(alone)
    assert {row["arm"] for row in here.rows} == {row["arm"] for row in alone.rows}


def test_a_cell_that_failed_is_left_and_named_until_it_is_to_be_tried_again(whole, tmp_path):
    shutil.copytree(whole / "results", tmp_path / "results")
    folder = sorted(runs(results(tmp_path)))[0]
    path = results(tmp_path) / folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "failed", "reason": "OSError: disk is full"}))
    file = write_sweep(tmp_path, GRID)
    left = run_sweep(file, tmp_path)
    assert left.returncode == 1
    assert "failed before: " in left.stdout
    assert "OSError: disk is full (left as it is: --retry runs it again)" in left.stdout
    again = run_sweep(file, tmp_path, "--retry")
    assert again.returncode == 0, again.stdout + again.stderr
    assert runs(results(tmp_path))[folder].info["state"] == "finished"


def test_cells_that_equal_pretrained_or_are_one_run_are_said_and_done_once_or_not_at_all(tmp_path):
    grid = {"method": {"value": "ntk"}, "factor": {"values": [1, 2]}, "window": {"values": [8, 16]}}
    done = run_sweep(write_sweep(tmp_path, grid), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 4 cells equal pretrained and are left out" in done.stdout
    assert "2 cells are one run, which is computed once: factor=2 window=8; factor=2 window=16." in done.stdout
    assert sorted(run.info["state"] for run in runs(results(tmp_path)).values()) == ["finished", "skipped"]
