"""Jobs side by side, each in processes of its own, with their progress on one screen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TaskID

from lcx_lightning.results.report.screen import say
from lcx_lightning.runner.launch.base import BUSY, FAILED, STOPPED, Event, Launcher, RunningJob, ended
from lcx_lightning.runner.launch.elsewhere import computed_by, ended_by_others, stamp
from lcx_lightning.runner.launch.progress import add_job, display_of, show_event
from lcx_lightning.training import preemption

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm


@dataclass(eq=False)
class Job:
    """One arm, or the base that several arms share."""

    name: str
    arm: "Arm"
    only_base: bool
    needs: "Job | None" = None
    state: str = "waiting"  # waiting, running, finished, failed, interrupted, stopped, left
    error: str = ""
    unwanted: bool = False  # whether it is to end without being finished, and others are not
    by_others: bool = False  # whether another process has ended it
    running: RunningJob | None = field(default=None, repr=False)
    task: TaskID | None = None

    def stop(self) -> None:
        """Ask the job to save and to end, while others go on."""
        if not self.unwanted and self.running is not None and self.state == "running":
            self.unwanted = True
            self.running.request_stop()

    def fail_with_base(self) -> None:
        """Fail if the base that this job needs has failed."""
        if self.needs is not None and self.needs.state == "failed":
            self.state, self.error = "failed", f"its base failed: {self.needs.error}"


Feed = Callable[[list[Job]], bool]


def run_jobs(
    jobs: list[Job], launch: Launcher, console: Console, at_most: int | None = None, feed: Feed | None = None
) -> None:
    """Run all jobs, as many at a time as the launcher has capacity for, and set their states.

    A job that fails stops those that need it, and no others. One that another process computes is left to that process
    as long as it lives, while others are run. On preemption running jobs save and end.

    Args:
        jobs: The jobs.
        launch: How they are started.
        console: Where their progress is shown.
        at_most: Number of arms that are run; the others are left. None for all.
        feed: Function that adds jobs while others run, and returns whether more may follow. None: there are no others.
    """
    stopping, following = False, feed is not None
    _stamp(jobs)
    with display_of(console) as display:
        whole = display.add_task("all", total=len(jobs), stage="", words="")
        try:
            while following or any(job.state in ("waiting", "running") for job in jobs):
                following = feed is not None and not stopping and _fed(jobs, feed)
                if not stopping and (preemption.stop_requested() or any(job.state == "interrupted" for job in jobs)):
                    _request_stop(jobs)
                    stopping = True
                said = "" if stopping else _start_ready(jobs, launch, display, at_most)
                _show(jobs, launch.events(), display)
                _collect(jobs, launch, display, stopping)
                ended = sum(job.state in ("finished", "failed") for job in jobs)
                display.update(whole, completed=ended, total=len(jobs), words=said)
        finally:
            for job in jobs:
                if job.state == "running" and job.running is not None and job.running.end():
                    job.state = "interrupted"


def _fed(jobs: list[Job], feed: Feed) -> bool:
    known = len(jobs)
    following = feed(jobs)
    _stamp(jobs[known:])
    return following


def _stamp(jobs: list[Job]) -> None:
    for job in jobs:
        job.arm.known_at = stamp(job.arm)


def show_progress(job: Job, event: tuple[str, int, int, str], display: Progress) -> None:
    """Show how far a job is: stage, parts done, parts in all, a few words."""
    if job.task is not None:
        show_event(display, job.task, event)


def show_end(job: Job, display: Progress) -> None:
    """Print how a job ended, in place of its progress."""
    if job.task is not None:
        display.remove_task(job.task)
    mark, style = ("failed", "red") if job.state == "failed" else (job.state.replace("finished", "done"), "green")
    say(display.console, job.name + (f": {job.error.splitlines()[0]}" if job.error else ""), mark, style)


def _start_ready(jobs: list[Job], launch: Launcher, display: Progress, at_most: int | None) -> str:
    """Start the jobs that can be started, and return a few words on those that other processes compute."""
    for job in jobs:
        if job.state == "waiting":
            job.fail_with_base()
    _leave(jobs, at_most)
    running = [job.running for job in jobs if job.state == "running"]
    wanted = _wanted(jobs, at_most)
    ready = [j for j in wanted if j.state == "waiting" and (j.needs is None or j.needs.state == "finished")]
    beside, elsewhere = len(running) + len(ready) - 1, 0
    for job in ready:
        if not launch.has_capacity(job.arm.trainer, running):
            break
        if ended_before := ended_by_others(job.arm, job.only_base):
            (job.state, job.error), job.by_others = ended_before, True
            show_end(job, display)
        elif computed_by(job.arm, job.only_base):
            elsewhere += 1
        else:
            job.task = add_job(display, job.name)
            job.running = launch.start(jobs.index(job), job.name, job.arm, job.only_base, beside)
            job.state = "running"
            running.append(job.running)
    return f"{elsewhere} elsewhere" if elsewhere else ""


def _wanted(jobs: list[Job], at_most: int | None) -> list[Job]:
    """Return the jobs that may be started: all, or as many arms as are still to be run, with their bases."""
    if at_most is None:
        return jobs
    arms: list[Job] = []
    for job in jobs:
        free = job.state == "waiting" and not job.only_base and len(arms) < at_most - _started(jobs)
        if free and not computed_by(job.arm, only_base=False):
            arms.append(job)
    return [*arms, *dict.fromkeys(job.needs for job in arms if job.needs)]


def _leave(jobs: list[Job], at_most: int | None) -> None:
    """Leave all waiting jobs where as many arms as are to be run have been started."""
    if at_most is not None and _started(jobs) >= at_most:
        for job in jobs:
            job.state = "left" if job.state == "waiting" else job.state


def _started(jobs: list[Job]) -> int:
    """Return how many arms this process has started."""
    return sum(job.running is not None and not job.only_base for job in jobs)


def _show(jobs: list[Job], events: list[Event], display: Progress) -> None:
    for number, stage, done, total, words in events:
        job = jobs[number]
        if stage == "failed":
            job.error = job.error or words
        elif job.state == "running":
            show_progress(job, (stage, done, total, words), display)


def _collect(jobs: list[Job], launch: Launcher, display: Progress, stopping: bool) -> None:
    for job in jobs:
        if job.state != "running" or job.running is None:
            continue
        codes = job.running.codes()
        if None in codes.values() and not any(codes.values()):
            continue
        _show(jobs, launch.events(), display)
        job.running.end()  # those that would wait for one that is gone
        if BUSY in codes.values():  # another process was faster
            _put_back(job, display, stopping)
            continue
        if STOPPED in codes.values():
            job.state = "stopped"
            show_end(job, display)
            continue
        broken = sorted((code, name) for name, code in codes.items() if code)  # killed ones first
        job.state = "failed" if broken else "finished"
        if broken and (
            preemption.EXIT_CODE in codes.values()
            or ((job.unwanted or preemption.stop_requested()) and broken[0][0] != FAILED)
        ):
            job.state, job.error = ("stopped", "") if job.unwanted else ("interrupted", "preempted")
        elif broken and (broken[0][0] < 0 or not job.error):
            job.error = ended(*broken[0])
        show_end(job, display)


def _put_back(job: Job, display: Progress, stopping: bool) -> None:
    """Let a job wait again that another process computes."""
    job.state, job.running = "interrupted" if stopping else "waiting", None
    if job.task is not None:
        display.remove_task(job.task)
        job.task = None


def _request_stop(jobs: list[Job]) -> None:
    """Ask running jobs to save and to end, and start no others."""
    for job in jobs:
        if job.state == "waiting":
            job.state = "interrupted"
        elif job.state == "running" and job.running is not None:
            job.running.request_stop()
