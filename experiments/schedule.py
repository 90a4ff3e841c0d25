"""Jobs side by side, each in a fresh process, with their progress on one screen."""

import multiprocessing
import os
import queue
import signal
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
from experiments.ranks import process_count, seat
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
    processes: list[BaseProcess] = field(default_factory=list, repr=False)  # by rank on this machine
    task: TaskID | None = None


def run_jobs(jobs: list[Job], at_once: int, console: Console) -> None:
    """Run all jobs, `at_once` processes at a time or one job, and set their states.

    A job that fails stops those that need it, no others. When the machine is asked for back, running jobs save and end.
    """
    context = multiprocessing.get_context("forkserver")
    events = context.Queue()
    with _display(console) as display:
        whole = display.add_task("[bold]all", total=len(jobs), words="")
        try:
            while any(job.state in ("waiting", "running") for job in jobs):
                if preemption.asked():  # again and again: a process that has just started does not listen yet
                    _give_back(jobs)
                _start_ready(jobs, at_once, context, events, display)
                _drain(jobs, events, display)
                _collect(jobs, events, display)
                display.update(whole, completed=sum(job.state in ("finished", "failed") for job in jobs))
        finally:
            for job in jobs:
                if _end(job):
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
    running = [job for job in jobs if job.state == "running"]
    ready = [j for j in jobs if j.state == "waiting" and (j.needs is None or j.needs.state == "finished")]
    cores = os.cpu_count() or 1
    for job in ready:
        trainer = job.arm.config["trainer"]
        count = process_count(trainer)
        if running and sum(len(other.processes) for other in running) + count > at_once:
            break
        threads = max(1, cores // max(count, min(at_once, len(running) + len(ready))))
        job.task = display.add_task(job.name, total=None, words="starting")
        given = ("experiments.worker", jobs.index(job), job.arm, job.only_base, threads, events, seat(trainer))
        job.processes = [context.Process(target=_work, args=(*given, local)) for local in range(count)]
        for process in job.processes:
            process.start()
        job.state = "running"
        running.append(job)


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
            job.error = job.error or words
        elif job.task is not None and job.state == "running":
            display.update(job.task, description=f"{job.name} · {stage}", completed=done, total=total, words=words)
        try:
            event = events.get_nowait()
        except queue.Empty:
            event = None


def _collect(jobs: list[Job], events, display: Progress) -> None:
    for job in jobs:
        codes = [process.exitcode for process in job.processes]
        if job.state != "running" or (None in codes and not any(codes)):
            continue
        _drain(jobs, events, display)
        _end(job)  # those that would wait for one that is gone
        broken = sorted((code, local) for local, code in enumerate(codes) if code)  # killed ones first
        job.state = "failed" if broken else "finished"
        if broken and preemption.asked() and broken[0][0] != FAILED:
            job.state, job.error = "interrupted", "preempted"
        elif broken and (broken[0][0] < 0 or not job.error):
            code, local = broken[0]
            which = f"process {local} of {len(codes)}" if len(codes) > 1 else "its process"
            job.error = f"{which} ended with exit code {code}" + (" (killed: out of memory?)" if code == -9 else "")
        if job.task is not None:
            display.remove_task(job.task)
        mark = "[red]failed[/]" if job.state == "failed" else f"[green]{job.state.replace('finished', 'done')}[/]"
        said = job.name + (f": {job.error.splitlines()[0]}" if broken else "")
        display.console.print(f"{mark} {escape(said)}", highlight=False)


def _give_back(jobs: list[Job]) -> None:
    """Ask running jobs to save and to end, and start no others."""
    for job in jobs:
        if job.state == "waiting":
            job.state = "interrupted"
        for process in job.processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGUSR1)


def _end(job: Job) -> bool:
    """Kill the processes of a job that still run, and return whether there were any."""
    alive = [process for process in job.processes if process.is_alive()]
    for process in alive:
        process.kill()
    for process in alive:
        process.join()
    return bool(alive)
