"""A run that is killed while it trains its base, extends and evaluates ends with the records of an undisturbed one."""

import os
import signal
import subprocess

import pytest
from lab import ROOT, SIZES, command, environment, folders, launch, numbers, runs

LINE = [
    *("method=clex_blocks", "training=finetune", "factor=8", "train_factor=2"),
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *("model.recipe.steps=300", "model.recipe.rows=2", "model.recipe.validation_steps=1"),
    *("training.steps=150", "training.rows=2", "training.validation_steps=1", "checkpoint_seconds=0.05"),
    *(
        "evaluation.growing_context.last=16",
        "evaluation.growing_context.windows=16",
        "evaluation.growing_context.multiples=[1,2,4,8]",
        "evaluation.growing_context.batch_tokens=64",
    ),
]


def kill_once(root, there):
    """Run the command in `root`, kill all its processes as soon as `there()` holds, and return its exit code."""
    line = command(*LINE, *folders(root))
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not there():
        try:
            return process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    done = launch(*LINE, *folders(root))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(root / "results" / "run").values()
    return run


def test_a_run_killed_in_every_stage_ends_with_the_records_of_an_undisturbed_one(undisturbed, tmp_path):
    cache, results = tmp_path / "cache", tmp_path / "results" / "run"

    def rows():
        return sum(path.read_bytes().count(b"\n") for path in results.glob("*/records.jsonl"))

    def in_training(stage):
        return lambda: bool(list((cache / stage).glob("*.work/last.ckpt")))

    for stage in ("base", "extend"):
        assert kill_once(tmp_path, in_training(stage)) == -signal.SIGKILL
        assert not list((cache / stage).glob("*/stage.json"))
        assert rows() == 0
    assert kill_once(tmp_path, lambda: rows() > 0) == -signal.SIGKILL
    assert 0 < rows() < len(undisturbed.rows)
    (killed,) = runs(results).values()
    assert killed.info["state"] == "running"

    done = launch(*LINE, *folders(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results).values()
    assert run.info["state"] == "finished"
    assert run.info["run"] == undisturbed.info["run"]
    assert run.info["fingerprint_after_training"] == undisturbed.info["fingerprint_after_training"]
    assert numbers(run) == numbers(undisturbed)
    assert rows() == len(run.rows)  # none was written twice
    assert not list(cache.glob("*/*.work"))
