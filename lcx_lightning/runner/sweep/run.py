"""The cells of a grid, run by as many workers as are started: each takes cells that nobody has finished or holds."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lcx_lightning.results.report.screen import say, screen
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.claim import claim
from lcx_lightning.runner.expand import words_of
from lcx_lightning.runner.experiment import Plan, concluded, interrupted, plan
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.launch.base import Launcher
from lcx_lightning.runner.launch.scheduler import run_jobs
from lcx_lightning.runner.notices import tell_ignored, tell_lengths, tell_prefixes, tell_start
from lcx_lightning.runner.preflight import identified, prepare
from lcx_lightning.runner.quiet import silence_library_logging
from lcx_lightning.runner.run_json import read_run, set_aside
from lcx_lightning.runner.startup import without_garbage_collection
from lcx_lightning.runner.sweep import checks
from lcx_lightning.runner.sweep.cells import Cells
from lcx_lightning.runner.sweep.files import Sweep
from lcx_lightning.runner.sweep.table import Known, lines_of, state_of
from lcx_lightning.schema.build import build as build_object
from lcx_lightning.training import preemption

FAILED = "failed"


@dataclass(frozen=True)
class Request:
    """What a command asks of a sweep."""

    sweep: Sweep
    command: str  # to be typed again
    count: int | None  # most cells that this command runs
    retry: bool  # whether failed cells are run again
    dry_run: bool


def run_cells(asked: Request, cells: Cells) -> int:
    """Run what is missing of a grid, report, and return the exit code.

    Raises:
        ValueError: If a cell cannot be run. Nothing has been run then.
    """
    console = screen()
    silence_library_logging()
    preemption.listen()
    launch: Launcher = build_object(cells.config.launch, "launch")
    with preemption.nothing_to_save(), without_garbage_collection():
        known = _known(asked, cells, launch, console)
        if asked.dry_run:
            states = [state_of(arm) for arm in known.arms]
            for line in lines_of(known, states, launch.at_once, asked.sweep.takes):
                say(console, line)
            return 0
        folder = claim(cells.config, asked.command, known.arms)
        for said in filter(None, map(set_aside, known.arms)):
            say(console, said, "computed again:", "yellow")
        left = [] if asked.retry else [arm for arm in known.arms if read_run(arm).get("state") == FAILED]
        jobs = plan([arm for arm in known.arms if arm not in left])
        labels = {arm.folder: label for arm, label in zip(*known, strict=True)}
        for job in jobs:
            job.name = job.name if job.only_base else labels[job.arm.folder]
        missing = sum(not job.only_base for job in jobs)
        tell_start(len(known.arms), missing, launch.at_once, folder, console)
    done = Plan(known.arms, folder, jobs, asked.command)
    try:
        run_jobs(jobs, launch, console, asked.count)
    except KeyboardInterrupt:
        return interrupted(done, console, 130)
    return _ended(done, left, labels, console)


def _known(asked: Request, cells: Cells, launch: Launcher, console: Console) -> Known:
    """Return the cells as arms, and say what is odd about them.

    Raises:
        ValueError: If one cannot be run, unless nothing is to be run.
    """
    built = build(cells.config, cells.grid)
    torchrun.check_launch([one.trainer for one in built], launch.remote)
    tell_lengths(built, console)
    tell_ignored(built, console)
    arms = [identified(one) for one in built]
    labels = [_label(arm, cells.turned[arm.order], len(cells.grid.seeds)) for arm in arms]
    words = [*cells.grid.line]
    for arm in arms:
        arm.turned = words_of(cells.turned[arm.order])
    notes = [
        *checks.check_metric(asked.sweep, arms, labels),
        *checks.doubles(arms, labels),
        *checks.equal_to_pretrained(arms, labels),
        *checks.idle_training(asked.sweep, words, arms, labels),
    ]
    for said in notes:
        say(console, said, "note:", "yellow")
    if not asked.dry_run:
        for one in built:
            prepare(one, here=not launch.remote)
        tell_prefixes(built, console)
    apart = {arm.run: (arm, label) for arm, label in zip(reversed(arms), reversed(labels), strict=True)}
    return Known(*map(list, zip(*reversed(apart.values()), strict=True)))


def _label(arm: Arm, turned: str, seeds: int) -> str:
    """Return what a cell turns, which tells it apart from all others: `window=16 sink_tokens=4 seed=0`."""
    return " ".join([*([turned] if turned else []), *([f"seed={arm.seed}"] if seeds > 1 or not turned else [])])


def _ended(done: Plan, left: list[Arm], labels: dict[Path, str], console: Console) -> int:
    """Report, name the cells that are left, and return the exit code."""
    waiting = [job.name for job in done.jobs if job.state == "left" and not job.only_base]
    code = concluded(
        done, console, "to see it again" if not waiting else f"to run the {len(waiting)} cells that are left"
    )
    for arm in left:
        reason = str(read_run(arm).get("reason") or "").partition("\n")[0]
        say(console, f"{labels[arm.folder]}: {reason} (left as it is: --retry runs it again)", "failed before:", "red")
    return code or int(bool(left))
