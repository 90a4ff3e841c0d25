"""Jobs as processes of this machine, forked from one that has imported the libraries."""

import multiprocessing
import os
import queue
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from lcx_lightning.runner.launch.base import END, Event
from lcx_lightning.runner.launch.forkserver import start_fork_server
from lcx_lightning.runner.launch.machine import Command
from lcx_lightning.runner.launch.threads import threads_of
from lcx_lightning.runner.trainer_config import TrainerSettings
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm

PROMPT = 5  # seconds that an agent has to end its processes


@dataclass
class LocalJob:
    """A running job: its process, or the one that looks after its processes."""

    process: BaseProcess
    count: int  # processes that compute
    stop: Any  # end of a connection: closing it is a request to stop

    def codes(self) -> dict[str, int | None]:
        """Return the exit code of the process; None while it runs."""
        return {"its process": self.process.exitcode}

    def request_stop(self) -> None:
        """Ask the job to save and to end."""
        self.stop.close()

    def end(self) -> bool:
        """Kill the job if it still runs, and return whether it did. The processes that it looks after follow it."""
        alive, pid = self.process.is_alive(), self.process.pid
        if alive and pid is not None and self.count > 1:  # the agent ends its processes, and leaves nothing behind
            os.kill(pid, END)
            self.process.join(timeout=PROMPT)
        if alive:
            self.process.kill()
            self.process.join()
        return alive


class LocalLauncher:
    """Start jobs on this machine.

    Args:
        at_once: Number of processes at a time. A job that has more than that runs by itself.
    """

    remote = False

    @checked
    def __init__(self, *, at_once: PositiveInt) -> None:
        self.at_once = self.search_at_once = at_once
        self._command = Command()
        self._context = multiprocessing.get_context("forkserver")
        self._events: Any = self._context.Queue()

    def has_capacity(self, trainer: TrainerSettings, running: list[LocalJob]) -> bool:
        """Return whether another job may start beside those that run."""
        busy = sum(running.count for running in running)
        return not running or busy + trainer.devices <= self.at_once

    def start(self, number: int, name: str, arm: "Arm", only_base: bool, beside: int) -> LocalJob:
        """Start a job.

        Args:
            number: Number of the job in its events.
            name: Name of the job, for people.
            arm: Arm that is run.
            only_base: Whether only the base of the arm is made.
            beside: Number of other jobs that share the cores.
        """
        start_fork_server()
        count = arm.trainer.devices
        threads = threads_of(self._command.processes(max(count, min(self.at_once, 1 + beside))))
        asked, stop = self._context.Pipe(duplex=False)
        job = (number, arm, only_base, threads, self._events, asked)
        if count == 1:
            target, arguments = "lcx_lightning.runner.launch.worker", job
        else:
            target, arguments = "lcx_lightning.runner.launch.elastic", (count, *job)
        process: BaseProcess = self._context.Process(target=_work, args=(target, *arguments))
        process.start()
        asked.close()
        return LocalJob(process, count, stop)

    def events(self) -> list[Event]:
        """Return the events since the last call; wait a moment for the first."""
        found = []
        try:
            found.append(self._events.get(timeout=0.2))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found


def _work(module: str, *arguments: object) -> None:
    """Call `work` of a module that is imported in the child alone, because the parent needs none of it."""
    import importlib

    importlib.import_module(module).work(*arguments)
