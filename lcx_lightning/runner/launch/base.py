"""What a launcher is: a way to start jobs, and to follow and to stop those that run."""

from typing import Any, Protocol, TypeAlias

from lcx_lightning.runner.arms import Arm

Event: TypeAlias = tuple[int, str, int, int, str]  # number of the job, stage, done, in all, a few words


class RunningJob(Protocol):
    """The processes of a running job."""

    def codes(self) -> dict[str, int | None]:
        """Return the exit code of every process by what it is called; None: it runs."""
        ...

    def request_stop(self) -> None:
        """Ask those that run to save and to end."""
        ...

    def end(self) -> bool:
        """Kill those that still run, and return whether there were any."""
        ...


class Launcher(Protocol):
    """A way to start jobs."""

    remote: bool  # what a job needs is not looked for on this machine

    def has_capacity(self, trainer: dict[str, Any], running: list[Any]) -> bool:
        """Return whether another job may start beside those that run."""
        ...

    def start(self, number: int, name: str, arm: Arm, only_base: bool, beside: int) -> RunningJob:
        """Start a job; `beside` others share the cores."""
        ...

    def events(self) -> list[Event]:
        """Return what jobs have told since the last call, after waiting a little for it."""
        ...
