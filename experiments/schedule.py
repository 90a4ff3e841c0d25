"""Jobs side by side, each in fresh processes, with their progress on one screen."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.arms import Arm
from experiments.processes import Event
from lcx_lightning.training import preemption

FAILED = 1  # exit code of a process that has said why


class Team(Protocol):
    """The processes of a running job."""

    def codes(self) -> dict[str, int | None]:
        """Return the exit code of every process by what it is called; None: it runs."""
        ...

    def give_back(self) -> None:
        """Ask those that run to save and to end."""
        ...

    def end(self) -> bool:
        """Kill those that still run, and return whether there were any."""
        ...


class Launch(Protocol):
    """A way to start jobs."""

    elsewhere: bool  # what a job needs is not looked for on this machine

    def room(self, trainer: dict[str, Any], running: list[Any]) -> bool:
        """Return whether another job may start beside those that run."""
        ...

    def start(self, number: int, name: str, arm: Arm, only_base: bool, beside: int) -> Team:
        """Start a job; `beside` others share the cores."""
        ...

    def events(self) -> list[Event]:
        """Return what jobs have told since the last call, after waiting a little for it."""
        ...


@dataclass(eq=False)
class Job:
    """One arm, or the base that several arms share."""

    name: str
    arm: Arm
    only_base: bool
    needs: "Job | None" = None
    state: str = "waiting"  # waiting, running, finished, failed, interrupted
    error: str = ""
    team: Team | None = field(default=None, repr=False)
    task: TaskID | None = None


def run_jobs(jobs: list[Job], launch: Launch, console: Console) -> None:
    """Run all jobs, as many at a time as there is room for, and set their states.

    A job that fails stops those that need it, no others. When the machine is asked for back, running jobs save and end.
    """
    given_back = False
    with _display(console) as display:
        whole = display.add_task("[bold]all", total=len(jobs), words="")
        try:
            while any(job.state in ("waiting", "running") for job in jobs):
                if not given_back and (preemption.asked() or any(job.state == "interrupted" for job in jobs)):
                    _give_back(jobs)
                    given_back = True
                _start_ready(jobs, launch, display)
                _drain(jobs, launch.events(), display)
                _collect(jobs, launch, display)
                display.update(whole, completed=sum(job.state in ("finished", "failed") for job in jobs))
        finally:
            for job in jobs:
                if job.state == "running" and job.team is not None and job.team.end():
                    job.state = "interrupted"


def _display(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
        console=console,
        transient=True,
    )


def _start_ready(jobs: list[Job], launch: Launch, display: Progress) -> None:
    for job in jobs:
        if job.state == "waiting" and job.needs is not None and job.needs.state == "failed":
            job.state, job.error = "failed", f"its base failed: {job.needs.error}"
    running = [job.team for job in jobs if job.state == "running"]
    ready = [j for j in jobs if j.state == "waiting" and (j.needs is None or j.needs.state == "finished")]
    beside = len(running) + len(ready) - 1
    for job in ready:
        if not launch.room(job.arm.config["trainer"], running):
            break
        job.task = display.add_task(job.name, total=None, words="starting")
        job.team = launch.start(jobs.index(job), job.name, job.arm, job.only_base, beside)
        job.state = "running"
        running.append(job.team)


def _drain(jobs: list[Job], events: list[Event], display: Progress) -> None:
    for number, stage, done, total, words in events:
        job = jobs[number]
        if stage == "failed":
            job.error = job.error or words
        elif job.task is not None and job.state == "running":
            display.update(job.task, description=f"{job.name} · {stage}", completed=done, total=total, words=words)


def _collect(jobs: list[Job], launch: Launch, display: Progress) -> None:
    for job in jobs:
        if job.state != "running" or job.team is None:
            continue
        codes = job.team.codes()
        if None in codes.values() and not any(codes.values()):
            continue
        _drain(jobs, launch.events(), display)
        job.team.end()  # those that would wait for one that is gone
        broken = sorted((code, name) for name, code in codes.items() if code)  # killed ones first
        job.state = "failed" if broken else "finished"
        if broken and (preemption.EXIT_CODE in codes.values() or (preemption.asked() and broken[0][0] != FAILED)):
            job.state, job.error = "interrupted", "preempted"
        elif broken and (broken[0][0] < 0 or not job.error):
            job.error = ended(*broken[0])
        if job.task is not None:
            display.remove_task(job.task)
        mark = "[red]failed[/]" if job.state == "failed" else f"[green]{job.state.replace('finished', 'done')}[/]"
        said = job.name + (f": {job.error.splitlines()[0]}" if broken else "")
        display.console.print(f"{mark} {escape(said)}", highlight=False)


def ended(code: int, name: str) -> str:
    """Return how a process ended that has not said why."""
    return f"{name} ended with exit code {code}" + (" (killed: out of memory?)" if code == -9 else "")


def _give_back(jobs: list[Job]) -> None:
    """Ask running jobs to save and to end, and start no others."""
    for job in jobs:
        if job.state == "waiting":
            job.state = "interrupted"
        elif job.state == "running" and job.team is not None:
            job.team.give_back()
