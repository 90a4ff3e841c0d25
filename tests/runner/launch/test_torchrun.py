"""The command under torchrun: every process runs the arms of the grid, and what is lost with a process is named."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from support.interrupted_runs import await_, await_checkpoints, children, start
from support.lab import SIZES, built_arms_of, folders, numbers, results, runs

from lcx_lightning.runner.launch import worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:Found .* in eval mode.*"),
]

LINE = [
    *("training=finetune", "factor=4", "train_factor=2", "arms=['method=clex,pi']"),
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *("model.recipe.steps=8", "model.recipe.rows=4", "model.recipe.validation_steps=1"),
    *("model.recipe.schedule.warmup=1", "training.schedule.warmup=1"),
    *("training.steps=60", "training.rows=4", "training.validation_steps=1"),
    *(
        "evaluation.growing_context.last=16",
        "evaluation.growing_context.windows=4",
        "evaluation.growing_context.multiples=[1,2]",
        "evaluation.growing_context.batch_tokens=64",
    ),
]
RANKS = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
OFTEN = "checkpoint_seconds=0.001"  # after every step


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The runs of one process, by arm."""
    root = tmp_path_factory.mktemp("alone")
    for built in built_arms_of(*LINE, *folders(root)):
        worker.run_arm(built, lambda *_: None)
    return {run.info["arm"]: run for run in runs(results(root)).values()}


def agent(root, *overrides, options, said="said.txt"):
    """Start torchrun's agent of one machine."""
    words = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "experiments.run", *overrides]
    return start(root, words=words, said=said)


def two_machines(root, *overrides, restarts):
    """Start torchrun on what stands for two machines, with one process each; rank 0 is under the first."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(restarts), *meet]
    started = [agent(root, *overrides, options=options, said=said) for said in ("said.txt", "other.txt")]
    await_(started[0], root, lambda: all(rank_under(one) for one in started))
    return sorted(started, key=rank_under)


def rank_under(process):
    """Return the rank that torchrun has given to its only process, as text; None before it runs."""
    for pid in children(process.pid):
        pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return next((pair[len("RANK=") :] for pair in pairs if pair.startswith("RANK=")), None)
    return None


def ended(agents, root):
    """Wait until agents have ended, and return their exit codes and what was printed."""
    codes = [one.wait(timeout=300) for one in agents]
    return codes, "".join((root / said).read_text() for said in ("said.txt", "other.txt") if (root / said).exists())


def assert_same(run, expected):
    """The records are those of one process: the same rows, in which sums over processes differ by rounding."""
    assert run.info["state"] == "finished"
    assert run.info["run"] == expected.info["run"]
    ours, theirs = numbers(run), numbers(expected)
    assert list(ours) == list(theirs)
    for row, (value, count) in ours.items():
        assert count == theirs[row][1]
        assert value == pytest.approx(theirs[row][0], rel=1e-3), row


def test_after_a_rank_was_killed_torchrun_goes_on_with_the_arms_that_are_left(alone, tmp_path):
    """On two machines with one process each. An arm that fails in all ranks ends no process; none is tried again."""
    too_much = "training.optimizer.lr=1e12"
    arms = f"arms=['method=ntk training=finetune {too_much}','method=clex,pi training=finetune']"
    agents = two_machines(tmp_path, *LINE[1:], *RANKS, OFTEN, arms, *folders(tmp_path), restarts=1)
    results = tmp_path / "results" / "embedded-sympy"
    await_(agents[0], tmp_path, lambda: any(results.glob("clex-*/run.json")))
    await_checkpoints(agents[0], tmp_path, "extend", 3)  # one may be of the arm that failed
    (rank,) = children(agents[1].pid)
    os.kill(rank, signal.SIGKILL)
    codes, said = ended(agents, tmp_path)
    assert codes == [1, 1], said
    found = {run.info["arm"]: run for run in runs(results).values()}
    assert (found["ntk"].info["state"], found["clex"].info["state"]) == ("failed", "failed")
    assert "NonFiniteError" in found["ntk"].info["reason"]
    assert said.count("failed ntk, seed 0: NonFiniteError") == 1
    assert "process 1 of 2 is gone" in found["clex"].info["reason"]
    assert said.count("failed: clex, seed 0: process 1 of 2 is gone") == 1
    assert said.count("failed clex, seed 0") == 1
    assert_same(found["pi"], alone["pi"])


def test_a_command_under_torchrun_that_is_stopped_goes_on_where_it_was(alone, tmp_path):
    """On one machine with two processes; torchrun hands the signal on, but not the exit code."""
    line = [*LINE, *RANKS, OFTEN, *folders(tmp_path)]
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
    process = agent(tmp_path, *line, options=options)
    await_checkpoints(process, tmp_path, "extend", 2)
    process.send_signal(signal.SIGTERM)
    (code,), said = ended([process], tmp_path)
    assert code, said
    assert said.count("interrupted; nothing is lost") == 1
    assert {run.info["state"] for run in runs(results(tmp_path)).values()} == {"interrupted"}

    process = agent(tmp_path, *line[:-3], *folders(tmp_path), options=options)
    (code,), said = ended([process], tmp_path)
    assert code == 0, said
    for run in runs(results(tmp_path)).values():
        assert_same(run, alone[run.info["arm"]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("training.steps=0", "training.steps must be a whole number of at least 1, got 0"),
        ("method=nothing", "method=nothing: there is no method 'nothing'"),
    ],
)
def test_bad_input_under_torchrun_is_refused_with_one_message(tmp_path, wrong, message):
    line = [*LINE[1:], *RANKS, *folders(tmp_path), "arms=[]", wrong]
    options = ["--standalone", "--nproc-per-node", "2"]
    process = agent(tmp_path, *line, "training=finetune", options=options)
    (code,), said = ended([process], tmp_path)
    assert code, said
    assert said.count(message) == 1, said
