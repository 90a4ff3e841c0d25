"""What other processes do with the jobs of this one: they compute some, and finish or fail them."""

from typing import TYPE_CHECKING

from lcx_lightning.results.listing import is_held
from lcx_lightning.results.records import RUN
from lcx_lightning.runner.arm_lock import holder
from lcx_lightning.runner.run_json import is_finished, read_run

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm


def stamp(arm: "Arm") -> int | None:
    """Return when run.json was last written, in nanoseconds; None if there is none, or none can be."""
    try:
        return (arm.folder / RUN).stat().st_mtime_ns
    except OSError:
        return None


def computed_by(arm: "Arm", only_base: bool) -> str | None:
    """Return who computes an arm, or its base, now; None if nobody does."""
    if not only_base:
        return holder(arm.folder)
    return "another process" if is_held(arm.cache("base", arm.base_key).with_suffix(".lock")) else None


def ended_by_others(arm: "Arm", only_base: bool, before: int | None) -> tuple[str, str] | None:
    """Return the state of an arm, or its base, that another process has ended, and its error; None if none has.

    Args:
        arm: The arm.
        only_base: Whether the base of the arm is meant.
        before: When run.json was last written before any job began: what had failed by then is tried again.
    """
    if only_base:
        return ("finished", "") if arm.cache("base", arm.base_key).exists() else None
    if is_finished(arm):
        return "finished", ""
    run = read_run(arm)
    if run.get("state") == "failed" and stamp(arm) != before:
        return "failed", f"{run.get('reason')} (in another process)"
    return None
