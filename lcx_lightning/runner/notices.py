"""What a run says besides its results: what it takes for granted, what changes nothing, what was left out."""

from pathlib import Path

from rich.console import Console

from lcx_lightning.results.report.screen import say
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.run_json import read_run


def tell_lengths(built: list[BuiltArm], console: Console) -> None:
    """Say the pretraining length of every model, in whose unit all contexts are, and where it comes from."""
    for said in dict.fromkeys(one.model.length_source for one in built):
        say(console, said)


def tell_prefixes(built: list[BuiltArm], console: Console) -> None:
    """Say what stands ahead of every text where the tokenizer itself puts nothing there."""
    for said in dict.fromkeys(one.data.tokens.prefix_note() for one in built):
        if said:
            say(console, said)


def tell_ignored(built: list[BuiltArm], console: Console) -> None:
    """Say which values on the command line no arm depends on."""
    for name in built[0].ignored:
        if all(name in one.ignored for one in built):
            say(
                console, f"{name}={built[0].arm.config[name]} changes nothing: no arm depends on it.", "note:", "yellow"
            )


def tell_start(arms: int, jobs: int, at_once: int | None, folder: Path, console: Console) -> None:
    """Say what begins now, also where nobody sees the progress: `9 arms, 2 at a time, results in results/NAME`.

    Args:
        arms: Number of arms of the grid.
        jobs: Number of arms that are to be run.
        at_once: Number of processes that run at the same time; None if a queue decides it.
        folder: Folder of the results.
        console: Where it is said.
    """
    many = f"{arms} arm{'s' if arms > 1 else ''}"
    left = "" if jobs == arms else f", {jobs} of them to be run" if jobs else ", all of them finished"
    how = "" if at_once is None or jobs < 2 else f", {at_once} at a time" if at_once > 1 else ", one after another"
    say(console, f"{many}{left}{how}, results in {folder}")


def tell_skipped(arms: list[Arm], console: Console) -> None:
    """Say which arms, or bases of theirs, left out steps that were not finite."""
    for arm in arms:
        run = read_run(arm)
        for name, found in (("base", run.get("base", {}).get("throughput")), ("extension", run.get("throughput"))):
            if found and found["skipped_steps"]:
                said = (
                    f"{found['skipped_steps']} of {found['steps']} steps of the {name} of {arm.name}, seed {arm.seed}"
                )
                say(console, said, "left out, not finite:", "yellow")
