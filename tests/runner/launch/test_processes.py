"""The command line with two processes an arm: the numbers of one, and nothing lost when it is stopped or one dies."""

import os
import random
import signal
import time

import pytest
from support.interrupted_runs import await_, await_checkpoints, end, freeze_in_checkpoint, ranks_of, rows, start, state
from support.lab import SIZES, arms_of, folders, launch, numbers, results, runs

from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.launch import worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:Found .* in eval mode.*"),
]

LINE = [
    *("method=clex", "training=finetune", "factor=8", "train_factor=2"),
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *(
        "model.recipe.steps=20",
        "model.recipe.schedule.warmup=5",
        "model.recipe.rows=4",
        "model.recipe.validation_steps=1",
    ),
    *("training.steps=40", "training.rows=4", "training.validation_steps=1", "training.optimizer.lr=0.0003"),
    *(
        "evaluation.growing_context.last=16",
        "evaluation.growing_context.windows=8",
        "evaluation.growing_context.multiples=[1,2,4]",
        "evaluation.growing_context.batch_tokens=64",
    ),
]
TWO = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
TWO += ["trainer.strategy.shard_evaluation=true"]
OFTEN = "checkpoint_seconds=0.001"  # after every step


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    root = tmp_path_factory.mktemp("alone")
    (arm,) = arms_of(*LINE, *folders(root))
    worker.run_arm(BuiltArm(arm), lambda *_: None)
    (run,) = runs(results(root)).values()
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run of two processes."""
    root = tmp_path_factory.mktemp("undisturbed")
    done = launch(*LINE, *TWO, *folders(root))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results(root)).values()
    return run


@pytest.mark.slow
def test_two_processes_have_the_numbers_of_one(alone, undisturbed):
    assert undisturbed.info["run"] == alone.info["run"]
    ours, expected = numbers(undisturbed), numbers(alone)
    assert list(ours) == list(expected)
    for row, (value, count) in ours.items():
        assert count == expected[row][1]
        assert value == pytest.approx(expected[row][0], rel=1e-3), row


@pytest.mark.slow
def test_a_run_of_two_processes_that_is_stopped_in_every_stage_ends_with_the_same_records(undisturbed, tmp_path):
    line = [*LINE, *TWO, *folders(tmp_path)]
    process = start(tmp_path, *line, OFTEN)
    await_checkpoints(process, tmp_path, "base", random.Random(3).randrange(1, 10))
    code, said = end(process, signal.SIGTERM, tmp_path)
    assert code == 75, said
    assert "interrupted; nothing is lost" in said
    assert not list((tmp_path / "cache" / "base").glob("*/stage.json"))

    process = start(tmp_path, *line, OFTEN)
    freeze_in_checkpoint(process, tmp_path, "extend")
    first, second = ranks_of(process)
    os.kill(first, signal.SIGKILL)
    since = time.monotonic()
    os.killpg(process.pid, signal.SIGCONT)
    await_(process, tmp_path, lambda: state(second) == "Z")
    assert time.monotonic() - since < 60
    code, said = process.wait(timeout=300), (tmp_path / "said.txt").read_text()
    assert code == 1, said
    assert "process 0 of 2 ended with exit code -9" in said
    (run,) = runs(results(tmp_path)).values()
    assert (run.info["state"], run.rows) == ("failed", [])

    process = start(tmp_path, *line)
    await_(process, tmp_path, lambda: rows(tmp_path) > 0)
    assert end(process, signal.SIGKILL, tmp_path)[0] == -signal.SIGKILL
    assert 0 < rows(tmp_path) < len(undisturbed.rows)

    done = launch(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results(tmp_path)).values()
    assert numbers(run) == numbers(undisturbed)
    assert run.info["fingerprint_after_training"] == undisturbed.info["fingerprint_after_training"]
    assert rows(tmp_path) == len(run.rows)
