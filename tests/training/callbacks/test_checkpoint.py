"""Checkpoints: written so often that little is lost, read only whole and by the training that they belong to."""

import os
import signal

import lightning as L
import pytest
import torch
from support.damaged_files import cut, flipped, full_disk
from support.six_step_training import OWNER, STEPS, train
from support.trainable_model import same

from lcx_lightning.training import preemption
from lcx_lightning.training.callbacks import checkpoint
from lcx_lightning.training.callbacks.checkpoint import CheckpointOwner, WholeCheckpoints
from lcx_lightning.training.module import LongContextModule

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@pytest.fixture
def preempted():
    """A function that asks for the machine; afterwards it is not asked for any more."""
    before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    preemption._of_process.clear()
    preemption.end_run()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "damage", [flipped, cut, lambda path: path.write_bytes(b""), lambda path: path.write_text("no")]
)
def test_a_checkpoint_that_was_damaged_is_refused_with_its_name(data, tmp_path, damage):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints(OWNER).save_checkpoint({"weights": torch.arange(4096.0)}, path)
    damage(path)
    held = path.read_bytes()
    with pytest.raises(ValueError, match=r"last.ckpt is not a complete checkpoint.*Delete it"):
        train(data, tmp_path)
    assert path.read_bytes() == held


def test_the_checkpoint_of_another_training_is_recognised_before_a_step_is_taken(data, tmp_path, monkeypatch):
    train(data, tmp_path, name="clex", owner=CheckpointOwner(tmp_path, "two", "clex, seed 5"))
    held = (tmp_path / "last.ckpt").read_bytes()
    monkeypatch.setattr(LongContextModule, "training_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(ValueError, match=r"must be a checkpoint of one training, but is one of clex, seed 5. Move it"):
        train(data, tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == held


def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused(data, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="is one of a training that it does not name"):
        train(data, tmp_path)


def test_a_full_disk_keeps_the_checkpoint_before_and_names_it(data, tmp_path):
    path = tmp_path / "last.ckpt"
    with full_disk(2**14), pytest.raises(OSError, match=r"No checkpoint could be written .*there is no previous one"):
        train(data, tmp_path)
    assert list(tmp_path.iterdir()) == []
    train(data, tmp_path, steps=2)
    held = path.read_bytes()
    with full_disk(2**14), pytest.raises(OSError, match=r"the previous one is kept: .*last.ckpt\. .*File too large"):
        train(data, tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == held


@pytest.mark.parametrize("seconds", [3600, 250, 100.5, 30, 1])
def test_no_more_training_is_lost_than_was_allowed_whatever_takes_time_beside_it(data, tmp_path, monkeypatch, seconds):
    step, writing, now, since, lost = 100.0, 1000.0, [0.0], [0.0], [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    save, train_step = L.Trainer.save_checkpoint, LongContextModule.training_step

    def saved(*args):
        save(*args)
        since[0] = now[0] = now[0] + writing

    def stepped(*args):
        now[0] += step
        lost.append(now[0] - since[0])
        return train_step(*args)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", saved)
    monkeypatch.setattr(LongContextModule, "training_step", stepped)
    train(data, tmp_path, seconds=seconds)
    assert max(lost) == {3600: 600, 250: 200}.get(seconds, 100)
    assert (tmp_path / "last.ckpt").exists() == (seconds < 3600)


@pytest.mark.parametrize("alone", [False, True])
def test_a_training_that_is_preempted_in_validation_saves_its_last_step_and_ends_the_same(
    data, tmp_path, monkeypatch, preempted, alone
):
    undisturbed = train(data, tmp_path / "undisturbed", seconds=3600)
    folder = tmp_path / "preempted"
    if alone:  # goes on from the last step, and validates only
        train(data, folder, seconds=1e-6)
    held = (folder / "last.ckpt").read_bytes() if alone else None
    step = LongContextModule.validation_step
    with monkeypatch.context() as patch:
        patch.setattr(LongContextModule, "validation_step", lambda *args: preempted() or step(*args))
        with pytest.raises(preemption.PreemptedError):
            train(data, folder, seconds=3600)
    preemption._of_process.clear()
    preemption.end_run()
    assert held in (None, (folder / "last.ckpt").read_bytes())
    assert WholeCheckpoints(OWNER).load_checkpoint(folder / "last.ckpt")["global_step"] == STEPS
    outcome = train(data, folder, seconds=3600)
    assert same(outcome.model.state_dict(), undisturbed.model.state_dict())
    assert outcome.validation_loss == undisturbed.validation_loss
