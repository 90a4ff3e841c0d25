"""An experiment from configuration to report: build every arm, run what is missing, show what came out."""

import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from lcx_lightning.distributed import process_group
from lcx_lightning.results.report.command import report
from lcx_lightning.results.report.screen import say, screen
from lcx_lightning.runner import wandb_runs
from lcx_lightning.runner.arm_lock import holder
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.claim import claim
from lcx_lightning.runner.expand import Grid
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.launch.base import Launcher
from lcx_lightning.runner.launch.scheduler import Job, run_jobs
from lcx_lightning.runner.notices import tell_ignored, tell_lengths, tell_prefixes, tell_skipped, tell_start
from lcx_lightning.runner.preflight import check_arm, prepare
from lcx_lightning.runner.refusals import BAD_INPUT, refuse
from lcx_lightning.runner.run_json import is_finished, read_run, set_aside, write_run
from lcx_lightning.runner.secrets import masked_words
from lcx_lightning.runner.startup import without_garbage_collection
from lcx_lightning.schema.build import build as build_object
from lcx_lightning.training import preemption

if TYPE_CHECKING:
    from rich.console import Console


class Plan(NamedTuple):
    """What an experiment comes to."""

    arms: list[Arm]
    folder: Path
    jobs: list[Job]
    command: str  # to be typed again


def run_experiment(config: DictConfig, command_line: list[str], grid: Grid) -> int:
    """Run the experiment and return the exit code: 0, 1 if an arm failed, 2 on bad input, 130 when interrupted.

    75 when SIGTERM or SIGUSR1 asked the run to stop, and everything is saved: the same command goes on.

    With `dry_run=fingerprint`, `forecast` or `data` nothing is run and no result written: what every arm would do, or
    need, or read, is printed.

    Under torchrun all processes call this. Rank 0 plans, writes and reports.

    Args:
        config: Composed configuration of the command line.
        command_line: Overrides as they were typed.
        grid: What they expand to.
    """
    console = screen()
    try:
        launch = build_object(config.launch, "launch")
    except BAD_INPUT as error:
        return refuse(error, console)
    words = [*torchrun.command(), "-m", "experiments.run", *_config_dir(), *masked_words(command_line)]
    planned = partial(_planned, config, grid, shlex.join(words), launch, console)
    if torchrun.started():
        from lcx_lightning.runner.launch.worker import with_error_file  # heavy

        return with_error_file(lambda: _run_in_turn(planned, config.trainer.accelerator, console))
    plan = planned()
    if isinstance(plan, int):
        return plan
    try:
        run_jobs(plan.jobs, launch, console)
    except KeyboardInterrupt:
        return interrupted(plan, console, 130)
    return concluded(plan, console)


def _run_in_turn(planned: Callable[[], Plan | int], accelerator: str, console: Console) -> int:
    """Run what is missing in the processes that torchrun has started, and return the exit code."""
    from lcx_lightning.runner.launch.in_turn import TorchrunGroup, recall, run_jobs_in_turn  # heavy

    group = TorchrunGroup(accelerator)
    first = process_group.rank() == 0
    before = process_group.broadcast_from_rank_zero(group.remembered("exit code") if first else None)
    if before is not None:  # torchrun starts processes again also when they ended as they should
        return int(before)

    def ending(code: int) -> int:
        if first:
            group.remember("exit code", str(code))
        return code

    plan = process_group.broadcast_from_rank_zero(planned() if first else 0)
    if isinstance(plan, int):
        return ending(plan)
    recall(plan.jobs, group)
    try:
        run_jobs_in_turn(plan.jobs, group, console)
    except KeyboardInterrupt:
        return ending(interrupted(plan, console, 130))
    if any(job.state == "interrupted" for job in plan.jobs):
        return ending(interrupted(plan, console, preemption.EXIT_CODE) if first else preemption.EXIT_CODE)
    return ending(process_group.broadcast_from_rank_zero(concluded(plan, console) if first else 0))


def _planned(config: DictConfig, grid: Grid, command: str, launch: Launcher, console: Console) -> Plan | int:
    """Return what is to be run, or an exit code if there is nothing to run or it is refused."""
    try:
        with preemption.nothing_to_save(), without_garbage_collection():
            for said in grid.replaced:
                say(console, said, "note:", "yellow")
            built = build(config, grid, wandb_runs.in_sweep())
            torchrun.check_launch([one.trainer for one in built], launch.remote)
            tell_lengths(built, console)
            tell_ignored(built, console)
            if config.dry_run is not None:
                show(config.dry_run, built, console)
                return 0
            arms = [prepare(one, here=not launch.remote) for one in built]
            tell_prefixes(built, console)
        _refuse_equals(arms)
        next(arm for arm in arms if not arm.equals_pretrained).leads = True
        folder = claim(config, command, arms)
        for said in filter(None, map(set_aside, arms)):
            say(console, said, "computed again:", "yellow")
        jobs = plan(arms)
        missing = sum(not job.only_base for job in jobs)
        tell_start(len(arms), missing, 1 if torchrun.started() else launch.at_once, folder, console)
        _log_finished(arms, jobs)
        return Plan(arms, folder, jobs, command)
    except BAD_INPUT as error:
        wandb_runs.log_refusal(error)
        return refuse(error, console)


def _log_finished(arms: list[Arm], jobs: list[Job]) -> None:
    """Log arms that need no job to W&B, if this command is the cell of a sweep."""
    for arm in arms:
        if not arm.equals_pretrained and all(job.arm is not arm for job in jobs):
            wandb_runs.log_again(arm)


def _log_those_of_others(jobs: list[Job]) -> None:
    """Log arms that other processes have ended to W&B, if this command is the cell of a sweep."""
    for job in jobs:
        if job.by_others and not job.only_base:
            wandb_runs.log_again(job.arm) if job.state == "finished" else wandb_runs.log_failure(job.arm, job.error)


def concluded(done: Plan, console: Console, again: str = "") -> int:
    """Write down what failed or was cut short, report, say how to go on, and return the exit code.

    Args:
        done: What was run.
        console: Where it is said.
        again: Why the command might be typed again, if nothing failed. Empty for what suits a grid.
    """
    if any(job.state == "interrupted" for job in done.jobs):
        return interrupted(done, console, preemption.EXIT_CODE)
    failed = [job for job in done.jobs if job.state == "failed" and not _done_by_others(job)]
    _log_those_of_others(done.jobs)
    _write_down(failed, done, console)
    for job in failed:
        said = job.error.split("\nTraceback ")[0]  # run.json has the rest
        say(console, f"{job.name}: {said}", "failed:", "red")
    for command in wandb_runs.commands_to_sync(done.arms):
        say(console, command, "to upload to W&B:", "yellow")
    if not again:
        again = "to repeat over seeds, add seeds=3" if done.arms[0].config["seeds"] == 1 else "to see it again"
    again = "to try what failed again" if failed else again
    say(console, f"{done.command}   # {again}")
    return 1 if failed else 0


def _done_by_others(job: Job) -> bool:
    """Return whether another process has finished an arm, or computes it, whose process has failed here."""
    return not job.only_base and (is_finished(job.arm) or holder(job.arm.folder) is not None)


def _write_down(failed: list[Job], done: Plan, console: Console) -> None:
    """Write what failed into run.json, and the report; say why if that cannot be done."""
    try:
        for job in failed:
            if not job.only_base:
                wandb_runs.note_failure(job.arm, job.error)
        for path in report(done.folder, console, redraw=bool(done.jobs)):
            say(console, str(path))
        tell_skipped(done.arms, console)
    except Exception as error:  # whatever it is, what was computed is on disk
        say(
            console,
            f"no report was made: {str(error).rstrip('.')}. To make it: lcx report {done.folder}",
            "error:",
            "red",
        )


def interrupted(cut: Plan, console: Console, code: int) -> int:
    """Write down which arms were cut short, say how to go on, and return the exit code."""
    for job in cut.jobs:
        if job.state == "interrupted" and not job.only_base and not _done_by_others(job):
            with suppress(OSError):  # of a full disk: a run that goes on says so anew
                write_run(job.arm, "interrupted")
    say(console, f"interrupted; nothing is lost. To go on: {cut.command}")
    return code


def show(dry_run: str, arms: list[BuiltArm], console: "Console") -> None:
    """Print what arms would do, need or read, in place of running them."""
    if dry_run == "fingerprint":
        from lcx_lightning.runner.preview.fingerprints import show_fingerprints as shown
    elif dry_run == "forecast":
        from lcx_lightning.runner.preview.forecast_tables import show_forecasts as shown

        for built in arms:
            check_arm(built, here=False)  # a forecast is of any hardware
    else:
        from lcx_lightning.runner.preview.data import show_data as shown
    shown(arms, console)


def _config_dir() -> list[str]:
    """Return the words of the command line that name a folder of the user's own configurations."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]


def plan(arms: list[Arm]) -> list[Job]:
    """Return what is to be done: bases that are not cached, then arms, those with most training first."""
    bases: dict[str, Job] = {}
    jobs = []
    for arm in sorted(arms, key=lambda a: -(a.config["training"] or {"steps": 0})["steps"]):
        if arm.equals_pretrained:
            write_run(arm, "skipped", reason="equals pretrained")
            continue
        if is_finished(arm):
            if read_run(arm).get("order") != arm.order:
                write_run(arm, "finished")
            continue
        missing = arm.config["model"]["recipe"] and not arm.cache("base", arm.base_key).exists()
        if missing and arm.base_key not in bases:
            bases[arm.base_key] = Job(f"base model, seed {arm.seed}", arm, only_base=True)
        name = f"{arm.name}, seed {arm.seed}"
        jobs.append(Job(name, arm, only_base=False, needs=bases.get(arm.base_key)))
    return [*bases.values(), *jobs]


def _refuse_equals(arms: list[Arm]) -> None:
    """Raise a ValueError if nothing but arms that equal the pretrained model are asked for."""
    if all(arm.equals_pretrained for arm in arms):
        names = ", ".join(dict.fromkeys(arm.name for arm in arms))
        raise ValueError(
            f"{names} would not change the model: its fingerprint, in training and at {arms[0].lengths} tokens, equals "
            "that of pretrained (a factor of 1, or a window no shorter than every length). Choose another setting."
        )
