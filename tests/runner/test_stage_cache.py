"""Finished stages, records and run.json: what is damaged, misplaced or on a full disk is said; what there was stays."""

import os
import resource
import shutil
import subprocess

import pytest
from support.damaged_files import cut, flipped, full_disk
from support.lab import (
    BASE,
    EVALUATION,
    ROOT,
    SIZES,
    TRAINING,
    arms_of,
    command,
    environment,
    folders,
    results,
    run_here,
    runs,
)

from lcx_lightning.results import records
from lcx_lightning.runner import preflight, stage_cache, stages
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.launch import worker
from lcx_lightning.runner.trainer_config import TrainerSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:Found .* in eval mode.*")

LINE = [
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *(*BASE, "model.recipe.schedule.warmup=1", *EVALUATION, *TRAINING),
    *("method=clex", "training=finetune"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished arm and its cache."""
    root = tmp_path_factory.mktemp("finished")
    run_here(*LINE, *folders(root))
    return root


@pytest.fixture
def place(finished, tmp_path):
    """A copy of it, evaluated nowhere."""
    shutil.copytree(finished / "cache", tmp_path / "cache")
    return tmp_path


def files(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_a_stage_can_be_read_by_whom_the_umask_lets_read(tmp_path, mask, mode):
    """Safetensors writes weights that only their owner can read, whatever the umask: nobody could share a cache."""
    weights = tmp_path / "model.safetensors"
    weights.touch(0o600)
    before = os.umask(mask)
    try:
        stage_cache.write_manifest(tmp_path, "key")
    finally:
        os.umask(before)
    assert [oct(path.stat().st_mode & 0o777) for path in sorted(tmp_path.iterdir())] == [oct(mode)] * 2
    assert stage_cache.verify_manifest(tmp_path, "key")


def test_an_arm_that_another_process_has_finished_meanwhile_stays_as_it_is(finished):
    """Of two commands that begin the same arm one waits; when it goes on, all is done."""
    (run,) = runs(results(finished)).values()
    before = files(finished)
    arm = run_here(*LINE, *folders(finished))
    assert arm.folder == run.folder
    assert files(finished) == before


@pytest.mark.parametrize("damage", [flipped, cut, os.unlink])
@pytest.mark.parametrize("name", ["base/*/model.safetensors", "extend/*/model.pt", "extend/*/stage.json"])
def test_a_finished_stage_that_is_not_whole_is_named_and_left_as_it_is(place, name, damage, monkeypatch):
    (path,) = (place / "cache").glob(name)
    damage(path) if path.suffix != ".json" or damage is os.unlink else path.write_text(path.read_text()[:-9])
    held = files(place / "cache")
    monkeypatch.setattr(stages, "evaluate", lambda *_: pytest.fail("it was evaluated"))
    with pytest.raises(
        ValueError, match=rf"cached stage {path.parent} is (damaged|incomplete): .*{path.name}.* Move .* anew"
    ):
        run_here(*LINE, *folders(place))
    assert files(place / "cache") == held


def test_the_stage_of_another_arm_is_recognised(place):
    (other,) = (place / "cache" / "extend").glob("*/")
    (arm,) = arms_of(*LINE, "factor=3", *folders(place))
    os.rename(other, arm.cache("extend", arm.extend_key))
    with pytest.raises(ValueError, match=rf"is that of {other.name}, in the place of {arm.extend_key}"):
        worker.run_arm(BuiltArm(arm), lambda *_: None)


def test_a_trained_model_that_does_not_fit_on_the_disk_leaves_the_checkpoint_and_names_it(place, monkeypatch):
    shutil.rmtree(next((place / "cache" / "extend").glob("*/")))
    (arm,) = arms_of(*LINE, "checkpoint_seconds=0.001", *folders(place))
    work = arm.cache("extend", arm.extend_key).with_suffix(".work")
    save = stage_cache.write_manifest

    def fill(folder, key, **told):
        with full_disk(16):
            save(folder, key, **told)

    with monkeypatch.context() as patch:
        patch.setattr(stage_cache, "write_manifest", fill)
        with pytest.raises(OSError, match=rf"last checkpoint is kept: {work}/last.ckpt. .*too"):
            worker.run_arm(BuiltArm(arm), lambda *_: None)
    assert (work / "last.ckpt").exists()
    worker.run_arm(BuiltArm(arm), lambda *_: None)
    (run,) = runs(arm.folder.parent).values()
    assert run.finished


def test_records_and_run_files_on_a_full_disk_keep_what_they_held_and_are_named(tmp_path):
    path, info = tmp_path / "records.jsonl", tmp_path / "run.json"
    records.append(path, [{"value": 1}])
    records.write_json(info, {"state": "running"})
    with full_disk(40):
        with pytest.raises(
            OSError, match=r"records.jsonl could not be written to, and what it held is kept: .*too large"
        ):
            records.append(path, [{"value": number} for number in range(9)])
        with pytest.raises(OSError, match=r"run.json could not be written to, and what it held is kept: .*too large"):
            records.write_json(info, {"state": "x" * 99})
    assert records.read_json(info) == {"state": "running"}
    assert records.read(path)[0] == {"value": 1}
    records.append(path, [{"value": 2}])
    assert records.read(path)[-1] == {"value": 2}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["records.jsonl", "run.json"]


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_with_one_error_and_goes_on_when_there_is_room(place):
    """Sizes of its files: experiment.json 1 kB, run.json 6, last.ckpt 140, so that the limit is met in training."""
    shutil.rmtree(next((place / "cache" / "extend").glob("*/")))
    line = command(*LINE, "checkpoint_seconds=0.001", *folders(place))
    done = subprocess.run(
        line,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, 2**15)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "failed: clex, seed 0: OSError: No checkpoint could be written to" in done.stdout
    assert "there is no previous one" in done.stdout
    run_here(*LINE, *folders(place))
    (run,) = runs(results(place)).values()
    assert run.finished


def test_more_devices_than_there_are_are_refused(monkeypatch):
    trainer = {"accelerator": "cpu"}
    monkeypatch.setattr(preflight.os, "cpu_count", lambda: 2)
    preflight.check_trainer(TrainerSettings.read(trainer | {"devices": 1}))
    with pytest.raises(
        ValueError, match=r"64 processes need as many cores, and this machine has 2: take trainer.devices=2"
    ):
        preflight.check_trainer(TrainerSettings.read(trainer | {"devices": 64}))
    monkeypatch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: 2)
    monkeypatch.setattr("lightning.pytorch.accelerators.cuda.num_cuda_devices", lambda: 2)
    with pytest.raises(ValueError, match=r"(?s)cannot run accelerator=gpu with devices=64: .*only has: \[0, 1\]"):
        preflight.check_trainer(TrainerSettings.read(trainer | {"accelerator": "gpu", "devices": 64}))
