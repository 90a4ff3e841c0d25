"""An arm that fails is tried once by all that work on its grid, also one of several processes."""

import json
from types import SimpleNamespace

import pytest
from support.interrupted_runs import start
from support.lab import TRAINING, results, runs
from support.sweeps import sweep_command, write_sweep

from lcx_lightning.results.records import RUN
from lcx_lightning.runner.arm_lock import HeldError, holder
from lcx_lightning.runner.launch import elsewhere
from lcx_lightning.runner.launch.elsewhere import stamp, untried

TWO = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
BAD, GOOD = 1e12, [0.0, 0.1]  # weight decay: weights grow beyond what a number holds


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """An arm that another process has failed in since this command began."""
    monkeypatch.setattr(elsewhere, "is_finished", lambda arm: False)
    monkeypatch.setattr(elsewhere, "read_run", lambda arm: json.loads((arm.folder / RUN).read_text()))
    (tmp_path / RUN).write_text(json.dumps({"state": "failed", "reason": "ValueError: bad"}))
    return SimpleNamespace(folder=tmp_path, known_at=None)


def test_what_failed_elsewhere_while_this_process_began_is_not_tried_again(failed):
    with pytest.raises(HeldError, match="has failed in it"), untried(failed):
        pass
    assert holder(failed.folder) is None


def test_what_failed_before_this_command_is_tried_again(failed):
    failed.known_at = stamp(failed)
    with untried(failed):
        assert (failed.folder / RUN).exists()


@pytest.mark.slow
def test_an_arm_of_several_processes_that_fails_is_tried_by_one_worker_alone(tmp_path):
    """The other worker has a good cell when it fails, and looks for more while the first one has the next."""
    parameters = {
        "method": {"value": "pi"},
        "training": {"value": "finetune"},
        "training.optimizer.weight_decay": {"values": [BAD, *GOOD]},
    }
    path = write_sweep(tmp_path / "file", parameters)
    words = sweep_command(path, tmp_path, "--jobs", "2", *TWO, *TRAINING, "training.steps=10")
    workers = [start(tmp_path, words=words, said=f"said-{number}.txt") for number in range(2)]
    codes = [worker.wait(timeout=600) for worker in workers]
    said = [(tmp_path / f"said-{number}.txt").read_text() for number in range(2)]
    assert 1 in codes, said
    infos = [run.info for run in runs(results(tmp_path)).values()]
    ended = {info["config"]["training"]["optimizer"]["weight_decay"]: (info["state"], info["reason"]) for info in infos}
    assert [ended[decay] for decay in GOOD] == [("finished", None)] * 2
    assert ended[BAD][0] == "failed"
    assert "NonFiniteError" in ended[BAD][1]
    tried = [one for one in said if "in another process" not in one and "failed before" not in one]
    assert len(tried) == 1, said
