"""Workers that are killed at random moments lose nothing, double nothing, and change no number."""

import os
import random
import signal

import pytest
from support.interrupted_runs import rows, start, wait_for
from support.lab import TRAINING, results, runs
from support.sweeps import run_sweep, sweep_command, write_sweep

from lcx_lightning.results.listing import HOLDER

pytestmark = pytest.mark.slow
PARAMETERS = {
    "training": {"value": "finetune"},
    "method": {"values": ["pi", "ntk", "yarn"]},
    "factor": {"values": [2, 4]},
    "seed": {"values": [0, 1, 2, 3]},
}
ARMS, WORKERS, KILLS = 24, 3, 10


def kill(worker, alone):
    """Kill a worker alone, whose processes find out, or all of its processes at once; return whether it was alive."""
    alive = worker.poll() is None
    if alive:
        (os.kill if alone else os.killpg)(worker.pid, signal.SIGKILL)
    worker.wait()
    return alive


def test_workers_killed_at_random_moments_finish_every_arm_once_with_the_numbers_of_an_undisturbed_run(tmp_path):
    path, root = write_sweep(tmp_path / "file", PARAMETERS), tmp_path / "killed"
    done = run_sweep(path, tmp_path / "undisturbed", *TRAINING)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = runs(results(tmp_path / "undisturbed"))
    assert len(expected) == ARMS
    dice, total, killed = random.Random(16), rows(tmp_path / "undisturbed"), 0

    def worker(number):
        words = sweep_command(path, root, "--jobs", "1", *TRAINING)
        return start(root, words=words, said=f"said-{number}.txt")

    workers = [worker(number) for number in range(WORKERS)]
    for moment in sorted(dice.sample(range(total), KILLS)):
        wait_for(lambda moment=moment: rows(root) > moment, workers)
        number = dice.randrange(WORKERS)
        killed += kill(workers[number], alone=dice.random() < 0.5)
        workers[number] = worker(number)
    said = [(one.wait(timeout=600), (root / f"said-{number}.txt").read_text()) for number, one in enumerate(workers)]
    assert killed > KILLS / 2  # a worker may have ended before its turn
    assert [code for code, _ in said] == [0] * WORKERS, said
    found = runs(results(root))
    assert found.keys() == expected.keys()
    assert {run.info["state"] for run in found.values()} == {"finished"}
    assert {name: {row["value"] for row in run.rows} for name, run in found.items()} == {
        name: {row["value"] for row in run.rows} for name, run in expected.items()
    }
    assert rows(root) == total  # none was written twice
    assert not [*root.rglob(HOLDER), *(root / "cache").glob("*/*.work")]
