"""Jobs of Slurm through submitit. A job whose time is over saves, and is queued again."""

import json
import os
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.distributed.process_group import Rendezvous
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.launch.base import FAILED, STOPPED, Event
from lcx_lightning.runner.trainer_config import TrainerSettings
from lcx_lightning.schema.checked import checked
from lcx_lightning.training import preemption

SIGNAL = signal.SIGUSR2  # sent by submitit when the time of a job is over
POLL = 0.5  # seconds
NO_RESULT = 2  # exit code of a task that left no result: it was killed or cancelled


class SlurmLauncher:
    """Queue all jobs that are ready on a cluster, which decides how many run at a time.

    Args:
        folder: Folder for logs and results of the jobs, shared by all machines.
        cluster: `slurm`, or `local` for processes of this machine that behave like jobs of Slurm.
        timeouts: How often a job may run out of time.
        search_at_once: Number of cells of a search that are in the queue, or run, at the same time.
        parameters: Parameters of `submitit.AutoExecutor` for every job. Where one is None the cluster's default holds.

    Raises:
        ValueError: If submitit or Slurm is not installed, or does not know a parameter.
    """

    remote, at_once = True, None

    @checked
    def __init__(
        self,
        folder: str,
        cluster: Literal["slurm", "local"],
        timeouts: NonNegativeInt,
        search_at_once: PositiveInt,
        parameters: Mapping[str, Any],
    ) -> None:
        self._parameters = {name: value for name, value in parameters.items() if value is not None}
        self._folder, self._cluster, self._timeouts = Path(folder).absolute(), cluster, timeouts
        self.search_at_once = search_at_once
        self._jobs: list[SlurmJob] = []
        self._executor({})

    def has_capacity(self, trainer: TrainerSettings, running: list[Any]) -> bool:
        """Return True, because the queue takes any number of jobs."""
        return True

    def start(self, number: int, name: str, arm: Arm, only_base: bool, beside: int) -> "SlurmJob":
        """Queue a job with a task for each of the trainer's devices."""
        trainer = arm.trainer
        wanted = {"name": name, "nodes": trainer.num_nodes, "tasks_per_node": trainer.devices}
        if trainer.accelerator in ("gpu", "cuda"):
            wanted["gpus_per_node"] = trainer.devices
        events = self._folder / uuid.uuid4().hex  # with a file for each task
        events.mkdir(parents=True)
        self._folder.chmod(0o700)  # a job is a file there, with the tokens that it needs
        task = Task(arm, only_base, self._parameters.get("cpus_per_task", 1), events)
        self._jobs.append(SlurmJob(self._executor(wanted).submit(task), number, events))
        return self._jobs[-1]

    def events(self) -> list[Event]:
        """Return the events since the last call, after a moment."""
        time.sleep(POLL)
        return [event for running in self._jobs for event in running.events()]

    def _executor(self, wanted: dict[str, Any]) -> Any:
        try:
            from submitit import AutoExecutor
        except ImportError as error:
            raise ValueError("launch=slurm needs submitit: pip install 'lcx-lightning[slurm]'.") from error
        kill = [*self._parameters.get("slurm_srun_args", []), "--kill-on-bad-exit=1"]  # the others would wait for it
        limit: dict[str, Any] = {f"{self._cluster}_max_num_timeout": self._timeouts}
        try:
            executor = AutoExecutor(self._folder, cluster=self._cluster, **limit)
            executor.update_parameters(**self._parameters | wanted | {"slurm_srun_args": kill})
        except RuntimeError as error:  # no srun
            raise ValueError(
                f"{error} Start the command where sbatch is, or try it with launch.cluster=local."
            ) from error
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise ValueError(f"launch.parameters: {error}") from error
        return executor


class SlurmJob:
    """A job of the cluster, which has a task for each process."""

    def __init__(self, job: Any, number: int, folder: Path) -> None:
        self._job, self._number, self._folder = job, number, folder
        self._read: dict[Path, int] = {}  # bytes
        self._state = ""
        self._codes: dict[int, int | None] = dict.fromkeys(range(job.num_tasks))
        self._errors: list[str] = []

    def codes(self) -> dict[str, int | None]:
        """Return 0, FAILED, STOPPED or NO_RESULT for every task that has ended. A job that is queued again has not."""
        for rank, code in self._codes.items():
            if code is None:
                self._codes[rank] = self._code(self._job.task(rank))
        return {f"task {rank} of job {self._job.job_id}": code for rank, code in self._codes.items()}

    def events(self) -> list[Event]:
        """Return the new events of the tasks, and with them changes of the state in the queue."""
        events: list[Event] = []
        if None in self._codes.values() and (state := self._job.state) != self._state:
            self._state = state
            events.append((self._number, state.lower(), 0, 1, f"job {self._job.job_id}"))
        for path in sorted(self._folder.glob("*.jsonl")):
            text = path.read_bytes()[self._read.get(path, 0) :]
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            events += [(self._number, *json.loads(line)) for line in whole.splitlines()]
        return events + [(self._number, "failed", 0, 1, error) for error in self._errors]

    def request_stop(self) -> None:
        """Cancel the job, which has the time that Slurm grants, 30 s by default, to save."""
        self._job.cancel(check=False)

    def end(self) -> bool:
        """Cancel the job if it has not ended, and return whether it had not."""
        running = not self._job.done()
        if running:
            self._job.cancel(check=False)
        return running

    def _code(self, task: Any) -> int | None:
        has_result = task.paths.result_pickle.exists()
        if not task.done() and not (has_result and self._job.num_tasks > 1):  # others may wait for one that has failed
            return None
        if not has_result:
            code, error = NO_RESULT, str(task.exception())
        else:
            outcome, result = task._get_outcome_and_result()
            code, error = (result, None) if outcome == "success" else (FAILED, result)
        if error:
            self._errors.append(error)
        return code


@dataclass
class Task:
    """What each task of a job runs."""

    arm: Arm
    only_base: bool
    threads: int
    events: Path  # folder with a file for each task

    def __call__(self) -> int:
        """Run the job, and return 0, or STOPPED if the run was asked to stop for good.

        If the time of the job is over, submitit's own handler queues it again once everything is saved.
        """
        from submitit import JobEnvironment

        # heavy, and not needed where jobs are only queued
        from lcx_lightning.runner.launch.worker import run_job, tell_failure

        environment: Any = JobEnvironment()
        requeue: Any = signal.getsignal(SIGNAL)
        over: list[int] = []

        def note(number: int, _frame: FrameType | None) -> None:
            over.append(number)
            preemption.request_stop()

        signal.signal(SIGNAL, note)
        _rendezvous(environment).export()
        tell = self._teller(environment.global_rank)
        try:
            run_job(self.arm, self.only_base, self.threads, tell)
        except SystemExit as ended:
            if ended.code == STOPPED:
                return STOPPED
            if not over:
                raise  # cancelled, or Slurm queues it again by itself
            if environment.global_rank == 0:
                requeue(over[0], None)
            raise SystemExit(0) from None  # quietly: the first task queues the job
        except Exception as error:
            tell_failure(error, tell, self.arm)
            raise RuntimeError("The reason is in the events of the job.") from error
        return 0

    def checkpoint(self) -> Any:
        """Return what runs when the job is started again: the same task, which goes on from what is saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _teller(self, rank: int) -> Any:
        path = self.events / f"{rank}.jsonl"

        def tell(*event: Any) -> None:
            with path.open("a") as file:
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())  # read on another machine

        return tell


def _rendezvous(environment: Any) -> Rendezvous:
    """Return where the tasks of a job meet, from what submitit says about them."""
    nodes = environment.num_nodes
    digits = int("".join(filter(str.isdigit, environment.job_id)))
    return Rendezvous(
        rank=environment.global_rank,
        world_size=environment.num_tasks,
        local_rank=environment.local_rank,
        node=environment.node,
        address=environment.hostnames[0] if nodes > 1 else "127.0.0.1",
        port=20_000 + digits % 40_000,
    )
