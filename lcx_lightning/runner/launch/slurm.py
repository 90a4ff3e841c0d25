"""Jobs of Slurm through submitit: each is queued, saves when its time is over, and is queued again."""

import json
import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lcx_lightning.distributed.process_group import Place
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.launch.base import Event
from lcx_lightning.runner.trainer_config import process_count
from lcx_lightning.training import preemption

CLUSTERS = ("slurm", "local")
SIGNAL = signal.SIGUSR2  # by which submitit says that time is over
POLL = 0.5  # seconds
FAILED, WITHOUT_WORD = 1, 2  # exit codes that stand for an error, and for a job that left no result


class SlurmLauncher:
    """Start jobs on a cluster, all that are ready: it is the cluster that decides how many run.

    Args:
        folder: Of logs and results of jobs, shared by all machines.
        cluster: `slurm`, or `local` for processes of this machine that behave so.
        timeouts: How often a job may run out of time.
        parameters: What `submitit.AutoExecutor` is told of every job; those that are None are left to the cluster.

    Raises:
        ValueError: If submitit or Slurm is not there, or does not know a parameter.
    """

    remote = True

    def __init__(self, folder: str, cluster: str, timeouts: int, parameters: DictConfig) -> None:
        if cluster not in CLUSTERS:
            raise ValueError(f"launch.cluster must be {' or '.join(CLUSTERS)}, got {cluster!r}.")
        given: Any = OmegaConf.to_container(parameters, resolve=True)
        self._parameters = {name: value for name, value in given.items() if value is not None}
        self._folder, self._cluster, self._timeouts = Path(folder).absolute(), cluster, timeouts
        self._teams: list[SlurmJob] = []
        self._executor({})

    def has_capacity(self, trainer: dict[str, Any], running: list[Any]) -> bool:
        """Return True: the queue has room."""
        return True

    def start(self, number: int, name: str, arm: Arm, only_base: bool, beside: int) -> "SlurmJob":
        """Queue a job with a task for each of the trainer's devices."""
        trainer = arm.config["trainer"]
        count = process_count(trainer)
        wanted = {"name": name, "nodes": trainer.get("num_nodes", 1), "tasks_per_node": count}
        if trainer["accelerator"] in ("gpu", "cuda"):
            wanted["gpus_per_node"] = count
        told = self._folder / uuid.uuid4().hex
        told.mkdir(parents=True)
        task = Task(arm, only_base, self._parameters.get("cpus_per_task", 1), told)
        self._teams.append(SlurmJob(self._executor(wanted).submit(task), number, told))
        return self._teams[-1]

    def events(self) -> list[Event]:
        """Return what jobs have told since the last call, after a little while."""
        time.sleep(POLL)
        return [event for running in self._teams for event in running.events()]

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
    """The tasks of a job of the cluster."""

    def __init__(self, job: Any, number: int, told: Path) -> None:
        self._job, self._number, self._told = job, number, told
        self._read: dict[Path, int] = {}  # bytes
        self._state = ""
        self._codes: dict[int, int | None] = dict.fromkeys(range(job.num_tasks))
        self._errors: list[str] = []

    def codes(self) -> dict[str, int | None]:
        """Return 0, 1 or another number for every task that has ended; a job that is queued again has not."""
        for rank, code in self._codes.items():
            if code is None:
                self._codes[rank] = self._code(self._job.task(rank))
        return {f"task {rank} of job {self._job.job_id}": code for rank, code in self._codes.items()}

    def events(self) -> list[Event]:
        """Return what the tasks have told, states of the queue included."""
        told: list[Event] = []
        if None in self._codes.values() and (state := self._job.state) != self._state:
            self._state = state
            told.append((self._number, state.lower(), 0, 1, f"job {self._job.job_id}"))
        for path in sorted(self._told.glob("*.jsonl")):
            text = path.read_bytes()[self._read.get(path, 0) :]
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            told += [(self._number, *json.loads(line)) for line in whole.splitlines()]
        return told + [(self._number, "failed", 0, 1, error) for error in self._errors]

    def request_stop(self) -> None:
        """Cancel the job: it has the time that Slurm gives, 30 s by default, to save."""
        self._job.cancel(check=False)

    def end(self) -> bool:
        """Cancel the job if it has not ended, and return whether that was so."""
        running = not self._job.done()
        if running:
            self._job.cancel(check=False)
        return running

    def _code(self, task: Any) -> int | None:
        told = task.paths.result_pickle.exists()
        if not task.done() and not (told and self._job.num_tasks > 1):  # others may wait for one that has failed
            return None
        if not told:
            code, error = WITHOUT_WORD, str(task.exception())
        else:
            outcome, error = task._get_outcome_and_result()
            code = 0 if outcome == "success" else FAILED
        if code:
            self._errors.append(error)
        return code


@dataclass
class Task:
    """A job, as each of its processes runs it."""

    arm: Arm
    only_base: bool
    threads: int
    told: Path  # folder of a file for each process

    def __call__(self) -> None:
        """Run it. Where time is over, submitit's own handler is called when all is saved, and queues the job again."""
        from submitit import JobEnvironment

        from lcx_lightning.runner.launch.worker import run_job  # heavy: not where jobs are only queued

        environment: Any = JobEnvironment()
        requeue: Any = signal.getsignal(SIGNAL)
        over: list[int] = []

        def note(number: int, _frame: FrameType | None) -> None:
            over.append(number)
            preemption.request_stop()

        signal.signal(SIGNAL, note)
        nodes = environment.num_nodes
        address = environment.hostnames[0] if nodes > 1 else "127.0.0.1"
        digits = int("".join(filter(str.isdigit, environment.job_id)))
        place = Place(
            environment.num_tasks,
            address,
            20_000 + digits % 40_000,
            environment.node,
            local_ranks=environment.num_tasks // nodes,
        )
        try:
            run_job(
                self.arm,
                self.only_base,
                self.threads,
                self._teller(environment.global_rank),
                place,
                environment.local_rank,
            )
        except SystemExit as stop:
            if stop.code != preemption.EXIT_CODE:
                raise RuntimeError("The job has told why it failed.") from stop
            if not over:
                raise  # cancelled, or Slurm queues it again by itself
            if environment.global_rank:
                raise SystemExit(0) from stop  # quietly: the first has to queue the job
            requeue(over[0], None)

    def checkpoint(self) -> Any:
        """Return what runs when the job is started again: the same, from what is saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _teller(self, rank: int) -> Any:
        path = self.told / f"{rank}.jsonl"

        def tell(*event: Any) -> None:
            with path.open("a") as file:
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())  # read on another machine

        return tell
