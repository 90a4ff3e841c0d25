"""Values that are drawn: what a parameter of a sweep allows, as W&B writes it, and as Optuna draws from it."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lcx_lightning.runner.sweep.files import Sweep
from lcx_lightning.schema.near import did_you_mean

if TYPE_CHECKING:
    from optuna import Trial

Range = Mapping[str, Any]  # min, max and q of a parameter
Draw = Callable[["Trial", str, Range], Any]

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
        low, high = one.get("min"), one.get("max")
        numbers = [end for end in (low, high) if isinstance(end, int | float) and math.isfinite(end)]
        if len(numbers) < 2 or numbers[0] > numbers[1] or (name == "log_uniform_values" and numbers[0] <= 0):
            above = " above 0" if name == "log_uniform_values" else ""
            raise ValueError(f"{sweep.path}: {key} needs two numbers{above}, min and max, got {low!r} and {high!r}.")


def draw(sweep: Sweep, trial: "Trial") -> list[str]:
    """Return the overrides of a cell: what has been drawn for it before stays."""
    chosen = {key: trial.suggest_categorical(key, values) for key, values in sweep.values.items()}
    chosen |= {key: DRAWS[distribution_of(one)](trial, key, one) for key, one in sweep.drawn.items()}
    return [f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in chosen.items()]


def first_of_each(sweep: Sweep) -> list[str]:
    """Return the overrides of a cell that could be drawn, to look at before any is."""
    return [f"{key}={values[0]}" for key, values in sweep.values.items()] + [
        f"{key}={one['min']}" for key, one in sweep.drawn.items()
    ]
