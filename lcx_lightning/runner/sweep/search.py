"""A search, run by as many workers as are started: cells are drawn by the results of others, and may end early."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState
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
from lcx_lightning.runner.sweep.files import Sweep
from lcx_lightning.runner.sweep.run import Request
from lcx_lightning.runner.sweep.space import Space
from lcx_lightning.runner.sweep.study import REASON, SKIPPED, Study, best_of, cells_in, name_of
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
        label = f"cell {trial.number}"
        try:
            own = draw(self.asked.sweep, trial)
            label = " ".join(own)
            arm = self.space.arm(own, trial.number, here=not self.launch.remote)
        except ValueError as error:
            say(self.console, f"{label}: {error}", "failed:", "red")
            self.study.give_up(trial, str(error))
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
            self.study.prune(one.trial)
        elif "failed" in states:
            self.study.give_up(one.trial, next(job.error for job in one.jobs if job.state == "failed"))
        elif not states & {"waiting", "running", "interrupted"}:
            self._finish(one, metric)
        else:
            if self.asked.sweep.early_terminate and self.study.is_bad(one.trial, history(one.arm, metric)):
                one.jobs[-1].stop()
            return
        self._open.remove(one)

    def _finish(self, one: Drawn, metric: str) -> None:
        """Tell the study what the metric of a cell is that has ended, or why it has none."""
        value = last_value(one.arm, metric)
        if value is not None and math.isfinite(value):
            self.study.finish(one.trial, value)
        elif one.arm.equals_pretrained:
            self.study.give_up(one.trial, "equals pretrained", skipped=True)
        else:
            why = f"it logged no {metric}" if value is None else f"its {metric} is {value}"
            say(self.console, f"{one.label}: {why}", "failed:", "red")
            self.study.give_up(one.trial, why)


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
    name = name_of(asked.sweep, space.shared, arm.run)
    if asked.dry_run:
        _show(cells_in(folder, name), most, asked.sweep, console)
        return 0
    claim(space.config, asked.command, [])
    training = arm.config["training"] or {}
    evaluations = int(training.get("steps", 0)) // max(1, arm.config["in_loop"]["every"])
    feed, jobs = Feed(asked, space, Study(asked.sweep, name, folder, most, evaluations), launch, console), []
    try:
        run_jobs(jobs, launch, console, feed=feed)
    except KeyboardInterrupt:
        return interrupted(Plan(feed.arms or [arm], folder, jobs, asked.command), console, 130)
    cells = feed.study.cells()
    _show(cells, most, asked.sweep, console)
    failed = any(_state(one) == "failed" for one in cells)
    if all(one.state == TrialState.FAIL for one in cells) and not feed.arms:  # there is nothing to report
        return int(failed)
    code = concluded(Plan(feed.arms or [arm], folder, jobs, asked.command), console, "to go on, or to see it again")
    return code or int(failed)


def _show(cells: Sequence[FrozenTrial], most: int, sweep: Sweep, console: Console) -> None:
    for line in lines_of(cells, most, sweep):
        say(console, line)


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


def lines_of(cells: Sequence[FrozenTrial], most: int, sweep: Sweep) -> list[str]:
    """Return the table of cells that have been drawn, and which is the best."""
    rows: list[Any] = [("cell", "state", sweep.metric or "", "drawn", "")]
    for one in cells:
        value = one.value if one.value is not None else next(reversed(one.intermediate_values.values()), None)
        drawn = " ".join(f"{key}={part}" for key, part in one.params.items())
        why = str(one.user_attrs.get(REASON, "")).partition("\n")[0]
        rows.append((str(one.number), _state(one), "" if value is None else f"{value:.5g}", drawn, why))
    best = best_of(cells, sweep.goal)
    said = [f"best: cell {best.number}, {best.value:.5g}"] if best else []
    return [*(aligned(rows, right=(0, 2)) if cells else ()), f"{len(cells)} of {most} cells have been drawn.", *said]


def _state(one: FrozenTrial) -> str:
    return "skipped" if one.user_attrs.get(SKIPPED) else STATES.get(one.state, "running")
