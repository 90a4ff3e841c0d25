"""Jobs one after another in the processes that torchrun has started, each of which takes part in every job."""

import gc
import json
import os
import traceback
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import Progress
from torch.distributed import DistStoreError, PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from lcx_lightning.distributed import process_group
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.launch.base import STOPPED
from lcx_lightning.runner.launch.progress import add_job, display_of
from lcx_lightning.runner.launch.scheduler import Job, show_end, show_progress
from lcx_lightning.runner.launch.threads import threads_of
from lcx_lightning.runner.launch.worker import run_job
from lcx_lightning.runner.run_json import read_run, write_run
from lcx_lightning.training import preemption

GRACE = 10  # seconds in which the processes that have failed at the same place come together
STARTED = "started"
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Failure(NamedTuple):
    """Why a process could not go on with a job."""

    reason: str
    traceback: str
    lost: bool  # whether the error is that another process is gone
    leaves: bool = False  # whether this process ends because of it


class ProcessesLostError(RuntimeError):
    """Raised when not all processes can go on, because one is gone or does not answer: torchrun starts all again."""


class TorchrunGroup:
    """The processes of a command under torchrun, and what torchrun's agent remembers of those it started before.

    A store of torch.distributed lives in the agent of rank 0, and so outlives the processes. In it stands, in plain
    text, which jobs have been started and how they failed, and the exit code of a command that came to its end.

    Args:
        accelerator: Accelerator of the trainer, by Lightning's name.
    """

    def __init__(self, accelerator: str) -> None:
        self._accelerator = accelerator
        self._environment = {name: os.environ[name] for name in VARIABLES}  # Lightning takes some of it away
        self._store = process_group.join(accelerator)
        self._memory = _agent_store()

    def renew(self) -> None:
        """Make the process group anew, after a job that may have left messages in it."""
        if self._store is not None:
            dist.destroy_process_group()
            os.environ |= self._environment
            self._store = process_group.join(self._accelerator)

    def remember(self, name: str, text: str) -> None:
        """Keep a text for processes that torchrun starts later in place of these."""
        if self._memory is not None:
            with suppress(dist.DistNetworkError):  # torchrun has ended on the machine of rank 0
                self._memory.set(name, text)

    def remembered(self, name: str) -> str | None:
        """Return a text that was kept; None if there is none."""
        if self._memory is None or not self._memory.check([name]):
            return None
        return self._memory.get(name).decode()

    def failures(self, own: Failure) -> list[Failure | None]:
        """Return why every process has failed, by rank; None for one that has not said so within a few seconds.

        The wait is over when torchrun asks this process to end.
        """
        if self._store is None:
            return [own]
        try:
            return self._gathered(own, self._store)
        except dist.DistNetworkError:  # the store is gone, and with it the machine of rank 0
            return [None, *[own] * (process_group.world_size() - 1)]

    def _gathered(self, own: Failure, store: Store) -> list[Failure | None]:
        names = [f"failure of rank {rank}" for rank in range(process_group.world_size())]
        store.set(names[process_group.rank()], json.dumps(own))
        for _ in range(GRACE):
            try:
                store.wait(names, timedelta(seconds=1))
                break
            except DistStoreError:
                if preemption.stop_requested():
                    break
        found = [store.get(name) if store.check([name]) else None for name in names]
        failures = [None if text is None else Failure(*json.loads(text)) for text in found]
        if not all(failures):
            store.set(names[process_group.rank()], json.dumps(own._replace(leaves=True)))
        return failures


def run_jobs_in_turn(jobs: list[Job], group: TorchrunGroup, console: Console) -> None:
    """Run all jobs one after another, and set their states. All processes call this with the same jobs.

    A job that fails stops those that need it, and no others. On preemption everything is saved and no other job starts.

    Raises:
        ProcessesLostError: If a process is gone or does not answer.
    """
    with display_of(console) as display:
        for job in jobs:
            job.fail_with_base()
            if job.state != "waiting":
                continue
            if any(process_group.all_gather(preemption.stop_requested())):
                break
            if process_group.rank() == 0:
                group.remember(name_of(job), STARTED)
            job.task = add_job(display, job.name)
            try:
                _run(job, display)
            except Exception as error:
                _fail(job, error, group, display)
            show_end(job, display)
            gc.collect()  # the model of this job, before the next is made
            if job.state == "interrupted":
                break
    for job in jobs:
        if job.state == "waiting":
            job.state = "interrupted"


def recall(jobs: list[Job], group: TorchrunGroup) -> None:
    """Set jobs to failed that failed, or were running when a process was killed, before torchrun started all again."""
    for job in jobs:
        text = group.remembered(name_of(job))
        if text is not None:
            killed = "a process of it was killed, or ended without saying why: torchrun names it"
            job.state, job.error = "failed", killed if text == STARTED else text


def name_of(job: Job) -> str:
    """Return a name that no other job has."""
    return f"base {job.arm.base_key}" if job.only_base else job.arm.folder.name


def _run(job: Job, display: Progress) -> None:
    """Run a job, and set its state unless it fails."""
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    threads = torch.get_num_threads() if local == 1 else threads_of(local)
    try:
        run_job(job.arm, job.only_base, threads, lambda *event: show_progress(job, event, display))
        process_group.barrier()
        job.state = "finished"
    except SystemExit as ended:
        job.state, job.error = ("stopped", "") if ended.code == STOPPED else ("interrupted", "preempted")


def _fail(job: Job, error: Exception, group: TorchrunGroup, display: Progress) -> None:
    """Set a job to failed, write that down, and get the processes ready for the next job."""
    own = Failure(f"{type(error).__name__}: {error}", traceback.format_exc(), _comes_from_a_lost_process(error))
    failures = group.failures(own)
    cause = _cause(failures, own)
    job.state, job.error = "failed", f"{cause.reason}\n{cause.traceback}"
    if process_group.rank() == 0 or not all(failures):
        _write_down(job.arm, cause, job.only_base)
        group.remember(name_of(job), job.error)
    if any(failure is None or failure.leaves for failure in failures):
        show_end(job, display)
        raise ProcessesLostError(f"{job.name}: {cause.reason}") from None
    error.__traceback__ = None  # it holds the model
    group.renew()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _cause(failures: list[Failure | None], own: Failure) -> Failure:
    """Return the one of several failures that caused the others."""
    causes = [failure for failure in failures if failure and not failure.lost]
    gone = [rank for rank, failure in enumerate(failures) if failure is None]
    if causes or not gone:
        return causes[0] if causes else own
    names = " and ".join(f"process {rank} of {len(failures)}" for rank in gone)
    return own._replace(reason=f"{names} is gone, or does not answer (killed: out of memory?)")


def _comes_from_a_lost_process(error: Exception) -> bool:
    """Return whether an error is that of a collective whose other end is gone: Gloo has no class of its own for it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def _write_down(arm: Arm, cause: Failure, only_base: bool) -> None:
    """Write a failure into run.json; rank 0 does, or whoever is left if rank 0 has not done it.

    Of an arm that has not begun here run.json says what another command does with it.
    """
    if not only_base and arm.begun and (process_group.rank() == 0 or read_run(arm).get("state") == "running"):
        write_run(arm, "failed", reason=cause.reason, traceback=cause.traceback)


def _agent_store() -> Store | None:
    """Return the store of torchrun's agent; None if torchrun was told to keep it to itself."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return PrefixStore("memory", store)
