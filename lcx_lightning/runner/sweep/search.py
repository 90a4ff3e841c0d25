"""A search, run by as many workers as are started: cells are drawn by the results of others, and may end early."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState
from rich.console import Console

from lcx_lightning.results import records
from lcx_lightning.results.curves import read_curves
from lcx_lightning.results.logged import summary
from lcx_lightning.results.report.screen import aligned, say, screen
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.claim import claim
from lcx_lightning.runner.experiment import Plan, concluded, interrupted, plan
from lcx_lightning.runner.launch.base import Launcher
from lcx_lightning.runner.launch.scheduler import Job, run_jobs
from lcx_lightning.runner.notices import tell_lengths, tell_prefixes
from lcx_lightning.runner.quiet import silence_library_logging
from lcx_lightning.runner.run_json import read_run, write_run
from lcx_lightning.runner.sweep import checks
from lcx_lightning.runner.sweep.drawn import draw, first_of_each
from lcx_lightning.runner.sweep.run import Request
from lcx_lightning.runner.sweep.space import Space
from lcx_lightning.runner.sweep.study import Study
from lcx_lightning.schema.build import build as build_object
from lcx_lightning.training import preemption

STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}


@dataclass
class Drawn:
    """A cell that this process computes."""

    trial: Trial
    label: str
    arm: Arm
    jobs: list[Job]  # its base and itself; none if it was finished before


@dataclass
class Feed:
    """Draws cells while others are run, tells the study how they end, and stops bad ones."""

    asked: Request
    space: Space
    study: Study
    launch: Launcher
    console: Console
    arms: list[Arm] = field(default_factory=list)
    _open: list[Drawn] = field(default_factory=list)
    _taken: int = 0

    def __call__(self, jobs: list[Job]) -> bool:
        """Add the jobs of new cells where there is room, and return whether there may be others."""
        for one in [*self._open]:
            self._look_at(one)
        while len(self._open) < self.launch.search_at_once:
            if self._taken == self.asked.count or (trial := self.study.take()) is None:
                return bool(self._open)
            self._taken += 1
            self._begin(trial, jobs)
        return True

    def _begin(self, trial: Trial, jobs: list[Job]) -> None:
        own = draw(self.asked.sweep, trial)
        label = " ".join(own)
        try:
            arm = self.space.arm(own, trial.number, here=not self.launch.remote)
        except ValueError as error:
            say(self.console, f"{label}: {error}", "failed:", "red")
            self.study.tell(trial, TrialState.FAIL)
            return
        claim(self.space.config, self.asked.command, [arm])
        self.arms.append(arm)
        new = plan([arm])
        for job in new:
            job.name = job.name if job.only_base else label
        jobs.extend(new)
        self._open.append(Drawn(trial, label, arm, new))

    def _look_at(self, one: Drawn) -> None:
        """Tell the study how a cell has ended, or end it if it is a bad one."""
        metric = self.asked.sweep.metric or ""
        states = {job.state for job in one.jobs}
        if "stopped" in states:
            write_run(one.arm, "interrupted", reason=f"stopped early: {metric} is worse than in other cells")
            self._close(one, TrialState.PRUNED)
        elif "failed" in states:
            self._close(one, TrialState.FAIL)
        elif not states & {"waiting", "running", "interrupted"}:
            value = last_value(one.arm, metric)
            self._close(one, TrialState.COMPLETE if value is not None else TrialState.FAIL, value)
        elif self.asked.sweep.early_terminate and self.study.is_bad(one.trial, history(one.arm, metric)):
            one.jobs[-1].stop()

    def _close(self, one: Drawn, state: TrialState, value: float | None = None) -> None:
        self.study.tell(one.trial, state, value)
        self._open.remove(one)


def run_search(asked: Request, space: Space, most: int) -> int:
    """Draw cells and run them until there are as many as asked for, report, and return the exit code.

    Args:
        asked: What the command asks.
        space: The cells that can be drawn.
        most: Largest number of cells, over all workers.

    Raises:
        ValueError: If what could be drawn cannot be run. Nothing has been run then.
    """
    console = screen()
    silence_library_logging()
    preemption.listen()
    launch: Launcher = build_object(space.config.launch, "launch")
    first = first_of_each(asked.sweep)
    arm = space.arm(first, 0, here=not launch.remote)
    checks.check_metric(asked.sweep, [arm], [" ".join(first)])
    tell_lengths(space.built, console)
    tell_prefixes(space.built, console)
    folder = Path(space.config.results_dir) / space.config.experiment
    if asked.dry_run and not folder.exists():
        say(console, f"{most} cells are to be drawn, none has been.")
        return 0
    training = arm.config["training"] or {}
    looks = int(training.get("steps", 0)) // max(1, arm.config["in_loop"]["every"])
    claim(space.config, asked.command, [])
    study = Study(asked.sweep, folder, most, looks)
    if asked.dry_run:
        for line in lines_of(study, most, asked.sweep.metric):
            say(console, line)
        return 0
    feed, jobs = Feed(asked, space, study, launch, console), []
    try:
        run_jobs(jobs, launch, console, feed=feed)
    except KeyboardInterrupt:
        return interrupted(Plan(feed.arms or [arm], folder, jobs, asked.command), console, 130)
    for line in lines_of(study, most, asked.sweep.metric):
        say(console, line)
    return concluded(Plan(feed.arms or [arm], folder, jobs, asked.command), console, "to go on, or to see it again")


def history(arm: Arm, metric: str) -> list[tuple[int, float]]:
    """Return the optimizer steps at which a metric of the training was logged so far, ascending, with its value."""
    if arm.extend_key is None:
        return []
    trained = arm.cache("extend", arm.extend_key)
    try:
        rows = read_curves(trained if trained.exists() else trained.with_suffix(".work"))
    except (OSError, json.JSONDecodeError):  # its last line is being written
        return []
    return [(row["step"], row[metric]) for row in rows if metric in row]


def last_value(arm: Arm, metric: str) -> float | None:
    """Return the metric of a finished run: from its summary, or the last of its training; None if it has none."""
    if read_run(arm).get("state") != "finished":
        return None
    value = summary(records.read_run(arm.folder)).get(metric)
    of_training = history(arm, metric)
    return value if value is not None else of_training[-1][1] if of_training else None


def lines_of(study: Study, most: int, metric: str | None) -> list[str]:
    """Return the table of cells that have been drawn, and which is the best."""
    rows: list[Any] = [("cell", "state", metric or "", "drawn")]
    for one in study:
        value = one.value if one.value is not None else next(reversed(one.intermediate_values.values()), None)
        drawn = " ".join(f"{key}={part}" for key, part in one.params.items())
        rows.append((str(one.number), STATES.get(one.state, "running"), "" if value is None else f"{value:.5g}", drawn))
    best = study.best()
    said = [f"best: cell {best.number}, {best.value:.5g}"] if best else []
    return [*aligned(rows, right=(0, 2)), f"{len(rows) - 1} of {most} cells have been drawn.", *said]
