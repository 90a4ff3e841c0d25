"""What other processes do with the jobs of this one: they compute some, and finish or fail them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lcx_lightning.results.listing import is_held
from lcx_lightning.results.records import RUN
from lcx_lightning.runner.arm_lock import HeldError, held, holder
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


def ended_by_others(arm: "Arm", only_base: bool) -> tuple[str, str] | None:
    """Return the state of an arm, or its base, that another process has ended, and its error; None if none has.

    What had failed before any job of this command began is tried again.

    Args:
        arm: The arm.
        only_base: Whether the base of the arm is meant.
    """
    if only_base:
        return ("finished", "") if arm.cache("base", arm.base_key).exists() else None
    if is_finished(arm):
        return "finished", ""
    run = read_run(arm)
    if run.get("state") == "failed" and stamp(arm) != arm.known_at:
        return "failed", f"{run.get('reason')} (in another process)"
    return None


@contextmanager
def untried(arm: "Arm") -> Iterator[None]:
    """Hold the lock of an arm inside this context.

    Raises:
        HeldError: If another process holds it, or has failed in it while this one began.
    """
    with held(arm.folder, wait=False):
        ended = ended_by_others(arm, only_base=False)
        if ended and ended[0] == "failed":
            raise HeldError("another process, which has failed in it")
        yield
