"""Two processes of torchrun that wait for an arm of another command: what happens to them is not said of that arm."""

import multiprocessing
import os

import pytest
from rich.console import Console
from support.lab import TINY, arms_of, folders

from lcx_lightning.distributed.process_group import Rendezvous, alone
from lcx_lightning.runner.arm_lock import held
from lcx_lightning.runner.launch import worker
from lcx_lightning.runner.launch.in_turn import ProcessesLostError, TorchrunGroup, run_jobs_in_turn
from lcx_lightning.runner.launch.scheduler import Job
from lcx_lightning.runner.run_json import read_run, write_run
from lcx_lightning.training import preemption

pytestmark = pytest.mark.slow


def killed(*_, **__):
    """In place of the wait for a lock."""
    os._exit(1)


def take_part(rank, port, arm, event, states):
    """Run the job of an arm as one of two processes, and put its state into a queue."""
    Rendezvous(rank, 2, rank, port=port).export()
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    group = TorchrunGroup("cpu")
    job = Job("pi", arm, only_base=False)
    if rank == 0 and event == "killed":
        worker.held = killed
    if rank == 0 and event == "preempted":
        of_the_job = worker.run_arm
        worker.run_arm = lambda *given: (preemption.request_stop(), of_the_job(*given))
    try:
        run_jobs_in_turn([job], group, Console(quiet=True))
    except ProcessesLostError:
        job.state = "lost"
    states.put((rank, job.state))


@pytest.mark.parametrize(
    ("event", "expected"), [("preempted", {0: "interrupted", 1: "interrupted"}), ("killed", {1: "lost"})]
)
def test_an_arm_that_another_command_computes_stays_as_it_is(tmp_path, event, expected):
    (arm,) = arms_of(*TINY, "method=pi", "evaluation=growing_context", *folders(tmp_path))
    context = multiprocessing.get_context("spawn")
    states, port = context.Queue(), alone().port
    with held(arm.folder, wait=False):
        write_run(arm, "running")
        processes = [context.Process(target=take_part, args=(rank, port, arm, event, states)) for rank in range(2)]
        for process in processes:
            process.start()
        found = dict(states.get(timeout=300) for _ in expected)
        for process in processes:
            process.join()
        assert found == expected
        assert read_run(arm)["state"] == "running"
