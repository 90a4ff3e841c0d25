"""Jobs as processes of this machine, forked from one that has imported the libraries."""

import multiprocessing
import os
import queue
import signal
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from lcx_lightning.distributed.process_group import Place
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.launch.base import Event
from lcx_lightning.runner.trainer_config import process_count, seat


@dataclass
class LocalJob:
    """The processes of a running job, by rank on this machine."""

    processes: list[BaseProcess]

    def codes(self) -> dict[str, int | None]:
        """Return the exit code of every process by what it is called; None: it runs."""
        count = len(self.processes)
        names = ["its process"] if count == 1 else [f"process {local} of {count}" for local in range(count)]
        return {name: process.exitcode for name, process in zip(names, self.processes, strict=True)}

    def request_stop(self) -> None:
        """Ask those that run to save and to end."""
        for process in self.processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGUSR1)

    def end(self) -> bool:
        """Kill those that still run, and return whether there were any."""
        alive = [process for process in self.processes if process.is_alive()]
        for process in alive:
            process.kill()
        for process in alive:
            process.join()
        return bool(alive)


class LocalLauncher:
    """Start jobs on this machine.

    Args:
        at_once: Processes at a time; a job that has more runs by itself.
    """

    remote = False  # what it needs is looked for on this machine

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._context = multiprocessing.get_context("forkserver")
        self._events: Any = self._context.Queue()

    def has_capacity(self, trainer: dict[str, Any], running: list[LocalJob]) -> bool:
        """Return whether another job may start beside those that run."""
        busy = sum(len(running.processes) for running in running)
        return not running or busy + process_count(trainer) <= self._at_once

    def start(
        self, number: int, name: str, arm: Arm, only_base: bool, beside: int, place: Place | None = None
    ) -> LocalJob:
        """Start a job, and return its processes.

        Args:
            number: Of the job, in its events.
            name: Of the job.
            arm: What it runs.
            only_base: Whether it makes the base of the arm, and no more.
            beside: Other jobs that share the cores.
            place: Where its processes find each other, if this machine has only some of them.
        """
        trainer = arm.config["trainer"]
        count = process_count(trainer)
        threads = max(1, (os.cpu_count() or 1) // max(count, min(self._at_once, 1 + beside)))
        given = (
            "lcx_lightning.runner.launch.worker",
            number,
            arm,
            only_base,
            threads,
            self._events,
            place or seat(trainer),
        )
        processes: list[BaseProcess] = [
            self._context.Process(target=_work, args=(*given, local)) for local in range(count)
        ]
        for process in processes:
            process.start()
        return LocalJob(processes)

    def events(self) -> list[Event]:
        """Return what jobs have told since the last call, after waiting a little for it."""
        told = []
        try:
            told.append(self._events.get(timeout=0.2))
            while True:
                told.append(self._events.get_nowait())
        except queue.Empty:
            return told


def _work(module: str, *arguments: object) -> None:
    """Import the heavy worker in the child alone; the parent that shows progress needs none of it."""
    import importlib

    importlib.import_module(module).work(*arguments)
