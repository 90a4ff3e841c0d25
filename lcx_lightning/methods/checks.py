"""Checks of the numbers that a method is built from: a comparison alone lets nan, true and 2.5 tokens pass."""

import numbers
from typing import Any

LARGEST = 10**12  # of any size, factor or base: times any length in tokens it is still a 64-bit integer


def number(
    name: str, value: Any, *, least: float | None = None, above: float | None = None, below: float | None = None
) -> float:
    """Return a finite number; a whole one stays an int.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        least: Smallest number that is accepted, or None.
        above: Number below every accepted one, or None.
        below: Number above every accepted one, or None.

    Raises:
        ValueError: If the value is no number (true and false are none), not finite, above 10^12, or out of range.
    """
    if not _is_number(value) or not _between(value, least, above, below):
        raise ValueError(f"{name} must be a number{_range(least, above, below)}, got {name}={value!r}.")
    return value


def whole(name: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number as an int; 4.0 counts as one.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        least: Smallest number that is accepted.

    Raises:
        ValueError: If the value is no whole number, below `least` or above 10^12.
    """
    if not _is_number(value) or value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number{_range(least)}, got {name}={value!r}.")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Return true or false.

    Raises:
        ValueError: If the value is neither, such as the text "false", which would count as true.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {name}={value!r}.")
    return value


def _is_number(value: Any) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    return -LARGEST <= value <= LARGEST  # pyright: ignore[reportOperatorIssue, reportReturnType]


def _between(value: float, least: float | None, above: float | None, below: float | None) -> bool:
    return (least is None or value >= least) and (above is None or value > above) and (below is None or value < below)


def _range(least: float | None, above: float | None = None, below: float | None = None) -> str:
    limits = [("of at least", least), ("above", above), ("below", below)]
    said = " and ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None)
    return f" {said}" if said else " that is finite"
