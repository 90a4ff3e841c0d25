"""What a launcher is: a way to start jobs, and to follow and stop those that run."""

import signal
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from lcx_lightning.runner.trainer_config import TrainerSettings

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm

Event: TypeAlias = tuple[int, str, int, int, str]  # number of the job, stage, parts done, parts in all, a few words

FAILED = 1  # exit code of a process that has said why
STOPPED = 76  # exit code of a process whose run was asked to end for good, while others go on
BUSY = 69  # exit code of a process that has found another one at work on its arm: EX_UNAVAILABLE of sysexits.h
END = signal.SIGALRM  # ends a job of several processes at once: a signal that nobody else sends or ignores


def ended(code: int, name: str) -> str:
    """Return how a process ended that has not said why."""
    return f"{name} ended with exit code {code}" + (" (killed: out of memory?)" if code == -9 else "")


class RunningJob(Protocol):
    """A job that has been started."""

    def codes(self) -> dict[str, int | None]:
        """Return the exit code of each of its processes by the name of the process; None while it runs."""
        ...

    def request_stop(self) -> None:
        """Ask the job to save and to end."""
        ...

    def end(self) -> bool:
        """Kill the processes that still run, and return whether there were any."""
        ...


class Launcher(Protocol):
    """A way to start jobs."""

    remote: bool  # whether jobs run on other machines, so that this one needs no hardware for them
    at_once: int | None  # processes that run at the same time; None if a queue decides it
    search_at_once: int  # cells of a search that are drawn before the first of them has ended

    def has_capacity(self, trainer: TrainerSettings, running: list[Any]) -> bool:
        """Return whether another job may start beside those that run."""
        ...

    def start(self, number: int, name: str, arm: "Arm", only_base: bool, beside: int) -> RunningJob:
        """Start a job, which shares the cores with `beside` others."""
        ...

    def events(self) -> list[Event]:
        """Return the events since the last call; wait a moment for the first."""
        ...
