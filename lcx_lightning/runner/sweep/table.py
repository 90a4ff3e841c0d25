"""The cells of a sweep with their states, and how long those that are left will take by those that are done."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from lcx_lightning.results.report.labels import seconds_text
from lcx_lightning.results.report.screen import aligned
from lcx_lightning.runner.arm_lock import holder
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.run_json import is_finished, read_run

DONE = "finished"


class Known(NamedTuple):
    """The cells of a sweep that are runs of their own, each with what it turns."""

    arms: list[Arm]
    labels: list[str]


class CellState(NamedTuple):
    """How far a cell is."""

    state: str  # finished, running, failed, interrupted, skipped; waiting if it has not begun
    more: str  # who computes it, or why it failed


def state_of(arm: Arm) -> CellState:
    """Return how far a cell is, by its run.json and its lock."""
    run = read_run(arm)
    if arm.equals_pretrained:
        return CellState("skipped", "equals pretrained")
    if is_finished(arm):
        return CellState(DONE, "")
    if who := holder(arm.folder):
        return CellState("running", who)
    state = run.get("state", "waiting")
    if state in ("running", DONE):  # whoever computed it is gone, or its numbers are not as they were
        state = "interrupted"
    return CellState(state, str(run.get("reason") or ""))


def lines_of(known: Known, states: Sequence[CellState], at_once: int | None, takes: str | None) -> list[str]:
    """Return the table of cells, and below it how many are how far and how long the rest takes.

    Args:
        known: The cells.
        states: How far each is.
        at_once: Cells that run at the same time; None if a queue decides it.
        takes: How long the file of the sweep says that it takes; None if it does not say so.
    """
    arms, labels = known
    rows = [
        (str(number), one.state, label, one.more.partition("\n")[0])
        for number, (label, one) in enumerate(zip(labels, states, strict=True), 1)
    ]
    table = aligned([("cell", "state", "turned", ""), *rows], right=(0,))
    counts = Counter(one.state for one in states)
    said = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    left = [arm for arm, one in zip(arms, states, strict=True) if one.state not in (DONE, "skipped")]
    return [*table, f"{len(arms)} cells: {said}.", *_time(arms, left, at_once, takes)]


def _time(arms: Sequence[Arm], left: Sequence[Arm], at_once: int | None, takes: str | None) -> list[str]:
    """Return a sentence on how long cells take, by those of the same methods that are finished, else by the file."""
    if not left:
        return []
    took: dict[str, list[float]] = defaultdict(list)
    for arm in arms:
        run = read_run(arm)
        if run.get("state") == DONE and run.get("seconds"):
            took["+".join(arm.methods)].append(sum(run["seconds"].values()))
    if not took:
        unknown = "How long they take here is known when one has finished; dry_run=forecast of `lcx run` counts FLOPs."
        return [*([f"The file says: {takes}."] if takes else []), unknown]
    every = [seconds for ones in took.values() for seconds in ones]
    whole = sum(mean(took.get("+".join(arm.methods), every)) for arm in left) / (at_once or 1)
    beside = f", {at_once} at a time" if at_once and at_once > 1 else ""
    return [f"{len(left)} are left: about {seconds_text(whole)}{beside}, by the {len(every)} that have finished."]
