"""Values that are drawn: what a parameter of a sweep allows, as W&B writes it, and as Optuna draws from it."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lcx_lightning.runner.sweep.files import Sweep
from lcx_lightning.schema.checked import unknown_name
from lcx_lightning.schema.near import did_you_mean

if TYPE_CHECKING:
    from optuna import Trial

Range = Mapping[str, Any]  # min, max and q of a parameter
Draw = Callable[["Trial", str, Range], Any]

OF_RANGE, STEP = ("distribution", "min", "max"), "q"
DRAWS: dict[str, Draw] = {
    "uniform": lambda trial, key, of: trial.suggest_float(key, float(of["min"]), float(of["max"])),
    "log_uniform_values": lambda trial, key, of: trial.suggest_float(key, float(of["min"]), float(of["max"]), log=True),
    "q_uniform": lambda trial, key, of: trial.suggest_float(key, of["min"], of["max"], step=of.get("q", 1.0)),
    "int_uniform": lambda trial, key, of: trial.suggest_int(key, of["min"], of["max"]),
}


def distribution_of(one: Range) -> str:
    """Return the name of a parameter's distribution; that of W&B if it names none: whole numbers are drawn as such."""
    whole = all(isinstance(one.get(end), int) for end in ("min", "max"))
    return one.get("distribution", "int_uniform" if whole else "uniform")


def check_drawn(sweep: Sweep) -> None:
    """Raise a ValueError if values cannot be drawn as a file says."""
    for key, one in sweep.drawn.items():
        name = distribution_of(one)
        if name not in DRAWS:
            raise ValueError(
                f"{sweep.path}: {key} is drawn by {name!r}, which needs the server of W&B.{did_you_mean(name, DRAWS)} "
                f"Without one there are: {', '.join(DRAWS)}, and a list of values."
            )
        knows = [*OF_RANGE, *([STEP] if name == "q_uniform" else [])]
        if unknown := [other for other in one if other not in knows]:
            raise ValueError(f"{sweep.path}: {unknown_name(unknown[0], knows, key)}")
        if not _is_range(one, name):
            kind = {"log_uniform_values": "numbers above 0", "int_uniform": "whole numbers"}.get(name, "numbers")
            low, high = one.get("min"), one.get("max")
            raise ValueError(f"{sweep.path}: {key} needs two {kind}, min and max, got {low!r} and {high!r}.")
        if not (_is_number(step := one.get(STEP, 1.0)) and step > 0):
            raise ValueError(f"{sweep.path}: {key} is drawn in steps of q, a number above 0, got {step!r}.")
    for key, values in sweep.values.items():
        if several := [value for value in values if isinstance(value, list | dict)]:
            raise ValueError(
                f"{sweep.path}: {key} has the value {several[0]!r}, and single values alone are drawn: write it as a "
                f'text, "{several[0]}".'
            )


def _is_range(one: Range, name: str) -> bool:
    ends: list[Any] = [one.get(end) for end in ("min", "max")]
    if not all(map(_is_number, ends)) or (name == "int_uniform" and not all(isinstance(end, int) for end in ends)):
        return False
    return ends[0] <= ends[1] and (name != "log_uniform_values" or ends[0] > 0)


def _is_number(one: Any) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)


def draw(sweep: Sweep, trial: "Trial") -> list[str]:
    """Return the overrides of a cell: what has been drawn for it before stays."""
    chosen = [f"{key}={trial.suggest_categorical(key, values)}" for key, values in sweep.values.items()]
    drawn = {key: DRAWS[distribution_of(one)](trial, key, one) for key, one in sweep.drawn.items()}
    return [
        *chosen,
        *(f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in drawn.items()),
    ]


def first_of_each(sweep: Sweep) -> list[str]:
    """Return the overrides of a cell that could be drawn, to look at before any is."""
    return [f"{key}={values[0]}" for key, values in sweep.values.items()] + [
        f"{key}={one['min']}" for key, one in sweep.drawn.items()
    ]
