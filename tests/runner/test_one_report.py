"""Whatever ran under one experiment name is in one report: several commands, and jobs of Hydra's multirun."""

import pytest
from support.lab import TINY, folders, launch

from lcx_lightning.results import records

pytestmark = pytest.mark.slow
SHOWN = ["pretrained", "lm_infinite window=16", "lm_infinite window=32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which one command has run the untouched model, and another one a method with two windows."""
    root = tmp_path_factory.mktemp("several")
    done = launch("method=pretrained", "experiment=several", "question=Why?", *TINY, *folders(root))
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def multirun(place):
    windows = ["method=lm_infinite", "method.pattern.window=16,32", "method.pattern.distance_limit=32"]
    return launch("-m", *windows, "experiment=several", *TINY, *folders(place))


def test_a_second_command_and_the_jobs_of_a_multirun_join_the_report(place, multirun):
    assert multirun.returncode == 0, multirun.stdout + multirun.stderr
    found = records.read_experiment(place / "results" / "several")
    assert found.arms() == SHOWN
    assert len(found.meta["commands"]) == 3
    assert found.meta["question"] == "Why?"
    last = multirun.stdout.rpartition("done lm_infinite")[2]
    assert all(name in last for name in SHOWN)
    assert "relative to pretrained [95%]" in last
    page = (place / "results" / "several" / "index.html").read_text()
    assert all(name in page for name in SHOWN)


def test_an_unknown_arm_to_compare_with_is_refused_before_anything_runs(place, multirun):
    folder = place / "results" / "several"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".experiment.json.lock"}
    line = ["method=yarn", "report.against=lm_infinite", "experiment=several", *TINY, *folders(place)]
    done = launch(*line)
    assert done.returncode == 2, multirun.stdout + done.stdout
    assert "there is no 'lm_infinite'. Did you mean 'lm_infinite window=" in done.stdout
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".experiment.json.lock"}
    assert after == before


def test_the_arm_to_compare_with_is_kept(place, multirun):
    line = ["method=pretrained", "report.against=lm_infinite window=16", "experiment=several", *TINY]
    done = launch(*line, *folders(place))
    assert done.returncode == 0, multirun.stdout + done.stdout + done.stderr
    assert "relative to lm_infinite window=16 [95%]" in done.stdout
    assert records.read_experiment(place / "results" / "several").meta["against"] == SHOWN[1]
