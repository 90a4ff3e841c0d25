"""The study of a search: which searches are one, what is known of its cells, and which is the best."""

from dataclasses import replace

import pytest
from support.sweeps import write_sweep

from lcx_lightning.runner.sweep.drawn import draw
from lcx_lightning.runner.sweep.files import Hyperband, read_sweep
from lcx_lightning.runner.sweep.study import Study, best_of, cells_in, name_of

RATE = {"training.optimizer.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}}
WORDS = ["experiment=small", "recipe=pi", "results_dir=a", "seed=0"]


@pytest.fixture
def sweep(tmp_path):
    """A search for a learning rate."""
    path = write_sweep(tmp_path, RATE, method="random", metric={"name": "train/loss", "goal": "minimize"}, run_cap=2)
    return read_sweep(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "bayes"},
        {"metric": "validation/loss"},
        {"goal": "maximize"},
        {"values": {"factor": [2, 4]}},
        {"drawn": {"training.optimizer.lr": {"min": 0.001, "max": 0.2}}},
        {"early_terminate": Hyperband("hyperband", min_iter=2)},
    ],
)
def test_a_search_that_asks_something_else_is_another_one(sweep, changed):
    assert name_of(replace(sweep, **changed), WORDS, "a") != name_of(sweep, WORDS, "a")


def test_a_search_whose_cells_compute_something_else_is_another_one(sweep):
    for words in (
        ["recipe=ntk", *WORDS[2:]],
        [*WORDS[:3], "seed=1"],
        [*WORDS, "~data.mixture.copy"],
        [*WORDS, "+exp=a"],
    ):
        assert name_of(sweep, words, "a") != name_of(sweep, WORDS, "a")
    assert name_of(sweep, WORDS, "b") != name_of(sweep, WORDS, "a")


def test_a_search_in_another_place_or_of_more_cells_is_the_same(sweep):
    elsewhere = [*reversed(WORDS[:2]), "seed=0", "results_dir=b", "jobs=2", "launch=slurm", "logger.project=mine"]
    assert name_of(replace(sweep, run_cap=9), elsewhere, "a") == name_of(sweep, WORDS, "a")


@pytest.mark.parametrize(("goal", "best"), [("minimize", 1), ("maximize", 0)])
def test_searches_in_one_folder_know_nothing_of_each_other(sweep, tmp_path, goal, best):
    first = Study(replace(sweep, goal=goal), "first", tmp_path, 2, 0)
    for value in (3.0, 1.0):
        trial = first.take()
        draw(sweep, trial)
        first.finish(trial, value)
    assert first.take() is None
    assert cells_in(tmp_path, "second") == []
    assert Study(sweep, "second", tmp_path, 2, 0).take().number == 0
    assert best_of(cells_in(tmp_path, "first"), goal).number == best


def test_looking_at_a_search_writes_nothing(sweep, tmp_path):
    assert cells_in(tmp_path / "none", "first") == []
    Study(sweep, "first", tmp_path, 2, 0).take()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert [len(cells_in(tmp_path, name)) for name in ("first", "second")] == [1, 0]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_a_cell_without_a_result_says_why_to_all_workers(sweep, tmp_path):
    study = Study(sweep, "first", tmp_path, 2, 0)
    study.give_up(study.take(), "equals pretrained", skipped=True)
    first = study.take()
    first.report(0.5, 1)
    study.prune(first)
    assert best_of(cells_in(tmp_path, "first"), "minimize") is None
    cell, _ = cells_in(tmp_path, "first")
    assert cell.user_attrs == {"reason": "equals pretrained", "skipped": True}


def test_a_value_of_a_list_is_handed_on_as_it_is_written(sweep, tmp_path):
    listed = replace(sweep, values={"factor": [1.23456789]}, drawn={})
    assert draw(listed, Study(listed, "first", tmp_path, 2, 0).take()) == ["factor=1.23456789"]
