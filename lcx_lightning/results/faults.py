"""Faults of results that are read for a report: what is damaged or not there is named, and the rest is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DAMAGED, MISSING = "damaged", "missing"


class Fault(NamedTuple):
    """What could not be read: a place as it was given, or one below it, and in a sentence why and what to do."""

    place: str
    reason: str
    state: str = DAMAGED


Told = Callable[[Fault], object]
"""Is told of a fault."""


@contextmanager
def telling(told: Told | None, place: Path | str) -> Iterator[None]:
    """Tell of an error in what a place holds, and go on; raise it if nobody is to be told."""
    try:
        yield
    except (ValueError, OSError) as error:
        if told is None:
            raise
        told(Fault(str(place), str(error)))
