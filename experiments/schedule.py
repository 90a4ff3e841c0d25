"""Jobs side by side, each in a fresh process, with their progress on one screen."""

import multiprocessing
import os
import queue
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

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


@dataclass(eq=False)
class Job:
    """One arm, or the base that several arms share."""

    name: str
    arm: Arm
    only_base: bool
    needs: "Job | None" = None
    state: str = "waiting"  # waiting, running, finished, failed
    error: str = ""
    process: BaseProcess | None = field(default=None, repr=False)
    task: TaskID | None = None


def run_jobs(jobs: list[Job], at_once: int, console: Console) -> None:
    """Run all jobs, `at_once` at a time, and set their states. A job that fails stops those that need it, no others."""
    context = multiprocessing.get_context("forkserver")
    events = context.Queue()
    with _display(console) as display:
        whole = display.add_task("[bold]all", total=len(jobs), words="")
        try:
            while any(job.state in ("waiting", "running") for job in jobs):
                _start_ready(jobs, at_once, context, events, display)
                _drain(jobs, events, display)
                _collect(jobs, events, display)
                display.update(whole, completed=sum(job.state in ("finished", "failed") for job in jobs))
        finally:
            for job in jobs:
                if job.process is not None and job.process.is_alive():
                    job.process.kill()
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


def _start_ready(jobs: list[Job], at_once: int, context, events, display: Progress) -> None:
    for job in jobs:
        if job.state == "waiting" and job.needs is not None and job.needs.state == "failed":
            job.state, job.error = "failed", f"its base failed: {job.needs.error}"
    running = sum(job.state == "running" for job in jobs)
    ready = [j for j in jobs if j.state == "waiting" and (j.needs is None or j.needs.state == "finished")]
    cores = os.cpu_count() or 1
    for job in ready[: max(0, at_once - running)]:
        threads = max(1, cores // min(at_once, running + len(ready)))
        job.task = display.add_task(job.name, total=None, words="starting")
        worker = "experiments.worker"
        process = context.Process(target=_work, args=(worker, jobs.index(job), job.arm, job.only_base, threads, events))
        process.start()
        job.process = process
        job.state = "running"


def _work(module: str, *arguments: object) -> None:
    """Import the heavy worker in the child alone; the parent that shows progress needs none of it."""
    import importlib

    importlib.import_module(module).work(*arguments)


def _drain(jobs: list[Job], events, display: Progress) -> None:
    try:
        event = events.get(timeout=0.2)
    except queue.Empty:
        return
    while event is not None:
        number, stage, done, total, words = event
        job = jobs[number]
        if stage == "failed":
            job.error = words
        elif job.task is not None and job.state == "running":
            display.update(job.task, description=f"{job.name} · {stage}", completed=done, total=total, words=words)
        try:
            event = events.get_nowait()
        except queue.Empty:
            event = None


def _collect(jobs: list[Job], events, display: Progress) -> None:
    for job in jobs:
        if job.state != "running" or job.process is None or job.process.is_alive():
            continue
        _drain(jobs, events, display)
        code = job.process.exitcode
        job.state = "finished" if code == 0 else "failed"
        if code and not job.error:
            job.error = f"its process ended with exit code {code}" + (" (killed: out of memory?)" if code == -9 else "")
        if job.task is not None:
            display.remove_task(job.task)
        mark = "[green]done[/]" if code == 0 else "[red]failed[/]"
        said = job.name + (f": {job.error.splitlines()[0]}" if code else "")
        display.console.print(f"{mark} {escape(said)}", highlight=False)
