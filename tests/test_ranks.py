"""The command line with two processes an arm: the numbers of one, and nothing lost when it is stopped or one dies."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from lab import ROOT, SIZES, command, environment, folders, launch, numbers, runs

LINE = [
    *("method=clex", "training=finetune", "factor=8", "train_factor=2"),
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *("model.recipe.steps=60", "model.recipe.rows=4", "model.recipe.validation_steps=1"),
    *("training.steps=60", "training.rows=4", "training.validation_steps=1", "training.optimizer.matrix_lr=0.0003"),
    *(
        "evaluation.growing_context.last=16",
        "evaluation.growing_context.windows=3",
        "evaluation.growing_context.multiples=[1,2]",
        "evaluation.growing_context.batch_tokens=64",
    ),
]
TWO = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
TWO += ["trainer.strategy.shard_evaluation=true"]


def started(root, *more):
    """Start the command with two processes an arm."""
    line = command(*LINE, *TWO, *more, *folders(root))
    return subprocess.Popen(
        line, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def await_checkpoint(process, root, stage):
    while not list((root / "cache" / stage).glob("*.work/last.ckpt")):
        assert process.poll() is None, process.stdout.read()
        os.sched_yield()


def children(pid):
    """Return the processes that a process has started, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def ranks_of(process):
    """Return the processes of the running arm: children of the one that they are forked from."""
    return [rank for child in children(process.pid) for rank in children(child)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    root = tmp_path_factory.mktemp("alone")
    done = launch(*LINE, *folders(root))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(root / "results" / "run").values()
    return run


def test_a_run_of_two_processes_that_is_stopped_and_broken_ends_with_the_numbers_of_one(alone, tmp_path):
    often = "checkpoint_seconds=0.001"
    stopped = started(tmp_path, often)
    await_checkpoint(stopped, tmp_path, "base")
    stopped.send_signal(signal.SIGTERM)
    said, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 75, said
    assert "interrupted; nothing is lost" in said
    assert list((tmp_path / "cache" / "base").glob("*.work/last.ckpt"))

    broken = started(tmp_path, often)
    await_checkpoint(broken, tmp_path, "extend")
    os.kill(ranks_of(broken)[-1], signal.SIGKILL)
    since = time.monotonic()
    said, _ = broken.communicate(timeout=60)
    assert time.monotonic() - since < 60
    assert broken.returncode == 1, said
    assert "process 1 of 2 ended with exit code -9" in said
    (run,) = runs(tmp_path / "results" / "run").values()
    assert (run.info["state"], run.rows) == ("failed", [])

    done = launch(*LINE, *TWO, *folders(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(tmp_path / "results" / "run").values()
    assert run.info["run"] == alone.info["run"]
    ours, expected = numbers(run), numbers(alone)
    assert list(ours) == list(expected)
    for row, (value, count) in ours.items():
        assert count == expected[row][1]
        assert value == pytest.approx(expected[row][0], rel=1e-3), row
