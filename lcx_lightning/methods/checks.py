"""Checks of the numbers that a method is built from: a comparison alone lets nan, true and 2.5 tokens pass."""

import numbers
import operator
from typing import Any

LARGEST = 10**12  # of any size, factor or base: times any length in tokens it is still a 64-bit integer
LIMITS = {"of at least": operator.ge, "above": operator.gt, "below": operator.lt, "up to": operator.le}


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """Return a finite number of Python; a whole one stays an int.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        least: Smallest number that is accepted, or None.
        above: Number below every accepted one, or None.
        below: Number above every accepted one, or None.
        most: Largest number that is accepted, or None.

    Raises:
        ValueError: If the value is no number (true and false are none), not finite, above 10^12, or out of range.
    """
    limits = {words: x for words, x in zip(LIMITS, (least, above, below, most), strict=True) if x is not None}
    if not _is_number(value) or not all(LIMITS[words](value, limit) for words, limit in limits.items()):
        said = " and ".join(f"{words} {limit:g}" for words, limit in limits.items()) or "that is finite"
        raise ValueError(f"{name} must be a number {said}, got {name}={value!r}.")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def whole(name: str, value: Any, *, least: int = 1, most: int = LARGEST) -> int:
    """Return a whole number as an int; 4.0 counts as one.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        least: Smallest number that is accepted.
        most: Largest number that is accepted.

    Raises:
        ValueError: If the value is no whole number or out of range.
    """
    if not _is_number(value) or value != int(value) or not least <= value <= most:
        said = f" and up to {most}" if most < LARGEST else ""
        raise ValueError(f"{name} must be a whole number of at least {least}{said}, got {name}={value!r}.")
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
