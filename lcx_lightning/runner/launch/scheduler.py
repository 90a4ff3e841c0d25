"""Jobs side by side, each in fresh processes, with their progress on one screen."""

from dataclasses import dataclass, field

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

from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.launch.base import Event, Launcher, RunningJob
from lcx_lightning.training import preemption

FAILED = 1  # exit code of a process that has said why


@dataclass(eq=False)
class Job:
    """One arm, or the base that several arms share."""

    name: str
    arm: Arm
    only_base: bool
    needs: "Job | None" = None
    state: str = "waiting"  # waiting, running, finished, failed, interrupted
    error: str = ""
    running: RunningJob | None = field(default=None, repr=False)
    task: TaskID | None = None


def run_jobs(jobs: list[Job], launch: Launcher, console: Console) -> None:
    """Run all jobs, as many at a time as there is room for, and set their states.

    A job that fails stops those that need it, no others. When the machine is asked for back, running jobs save and end.
    """
    stopping = False
    with _display(console) as display:
        whole = display.add_task("[bold]all", total=len(jobs), words="")
        try:
            while any(job.state in ("waiting", "running") for job in jobs):
                if not stopping and (preemption.stop_requested() or any(job.state == "interrupted" for job in jobs)):
                    _give_back(jobs)
                    stopping = True
                _start_ready(jobs, launch, display)
                _drain(jobs, launch.events(), display)
                _collect(jobs, launch, display)
                display.update(whole, completed=sum(job.state in ("finished", "failed") for job in jobs))
        finally:
            for job in jobs:
                if job.state == "running" and job.running is not None and job.running.end():
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


def _start_ready(jobs: list[Job], launch: Launcher, display: Progress) -> None:
    for job in jobs:
        if job.state == "waiting" and job.needs is not None and job.needs.state == "failed":
            job.state, job.error = "failed", f"its base failed: {job.needs.error}"
    running = [job.running for job in jobs if job.state == "running"]
    ready = [j for j in jobs if j.state == "waiting" and (j.needs is None or j.needs.state == "finished")]
    beside = len(running) + len(ready) - 1
    for job in ready:
        if not launch.has_capacity(job.arm.config["trainer"], running):
            break
        job.task = display.add_task(job.name, total=None, words="starting")
        job.running = launch.start(jobs.index(job), job.name, job.arm, job.only_base, beside)
        job.state = "running"
        running.append(job.running)


def _drain(jobs: list[Job], events: list[Event], display: Progress) -> None:
    for number, stage, done, total, words in events:
        job = jobs[number]
        if stage == "failed":
            job.error = job.error or words
        elif job.task is not None and job.state == "running":
            display.update(job.task, description=f"{job.name} · {stage}", completed=done, total=total, words=words)


def _collect(jobs: list[Job], launch: Launcher, display: Progress) -> None:
    for job in jobs:
        if job.state != "running" or job.running is None:
            continue
        codes = job.running.codes()
        if None in codes.values() and not any(codes.values()):
            continue
        _drain(jobs, launch.events(), display)
        job.running.end()  # those that would wait for one that is gone
        broken = sorted((code, name) for name, code in codes.items() if code)  # killed ones first
        job.state = "failed" if broken else "finished"
        if broken and (
            preemption.EXIT_CODE in codes.values() or (preemption.stop_requested() and broken[0][0] != FAILED)
        ):
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
        elif job.state == "running" and job.running is not None:
            job.running.request_stop()
