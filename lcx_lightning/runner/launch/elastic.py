"""A job of several processes on this machine, which run under torchrun's elastic agent."""

import logging
import os
import uuid
from contextlib import nullcontext
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from tempfile import TemporaryDirectory

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lcx_lightning.runner import wandb_runs
from lcx_lightning.runner.arm_lock import HeldError
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.launch.base import BUSY, END, FAILED, STOPPED, ended
from lcx_lightning.runner.launch.elsewhere import untried
from lcx_lightning.runner.launch.forkserver import share_fork_server
from lcx_lightning.runner.launch.machine import VISIBLE
from lcx_lightning.runner.launch.worker import follow_parent, gpus_of, run_job, teller, with_error_file
from lcx_lightning.training import preemption


def work(count: int, number: int, arm: Arm, only_base: bool, threads: int, events: Queue, stop: Connection) -> None:
    """Run a job in several processes and look after them; the arguments are those of `worker.work`, and one more.

    Of processes that fail one is named: the first one, not those that the agent ended because of it. The lock of the
    arm is the agent's, until run.json says why it failed.

    Args:
        count: Number of processes.
    """
    follow_parent()  # the signals of preemption are held back here: the processes listen to them
    share_fork_server()
    logging.disable(logging.CRITICAL)  # what the agent says of its processes; the scheduler says why the job failed
    try:
        with (
            nullcontext() if only_base else untried(arm),
            gpus_of(arm, number) as gpus,
            TemporaryDirectory(prefix="lcx_") as errors,
        ):
            try:
                job = (number, arm, only_base, threads, events, stop)
                elastic_launch(_config(errors, count), work_as_rank)(gpus, *job)
            except ChildFailedError as error:
                rank, failure = error.get_first_failure()
                if failure.exitcode in (preemption.EXIT_CODE, STOPPED):
                    raise SystemExit(failure.exitcode) from None
                said = _reason(failure, f"process {rank} of {count}")
                if not only_base:
                    wandb_runs.note_failure(arm, said)
                teller(events, number)("failed", 0, 1, said)
                raise SystemExit(FAILED) from None
            except SignalException:  # END
                raise SystemExit(FAILED) from None
    except HeldError:
        raise SystemExit(BUSY) from None


def work_as_rank(
    gpus: str | None, number: int, arm: Arm, only_base: bool, threads: int, events: Queue, stop: Connection
) -> None:
    """Run a job as one of the processes of an elastic agent, whose environment describes the process group.

    The arguments are those of `worker.work`, after the GPUs that the agent has chosen, None if it has chosen none.
    """
    follow_parent(stop)
    os.environ |= {VISIBLE: gpus} if gpus else {}
    with_error_file(lambda: run_job(arm, only_base, threads, teller(events, number), nullcontext))


def _config(errors: str, count: int) -> LaunchConfig:
    """Return the configuration of an agent whose processes, if they fail, write why into a folder."""
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="forkserver",
        signals_to_handle=END.name,
        logs_specs=DefaultLogsSpecs(log_dir=errors),
    )


def _reason(failure: ProcessFailure, name: str) -> str:
    """Return why a process failed: its error with the traceback, or how it ended if it has written none."""
    said = failure.error_file_data.get("message") if isinstance(failure.error_file_data, dict) else None
    if isinstance(said, dict):
        return f"{said['message']}\n{said['extraInfo']['py_callstack']}"
    return ended(failure.exitcode, name)
