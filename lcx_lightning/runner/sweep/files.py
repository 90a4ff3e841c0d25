"""Files of sweeps, as W&B has them: https://docs.wandb.ai/guides/sweeps/sweep-config-keys."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge
from omegaconf import OmegaConf
from pydantic import PositiveInt

from lcx_lightning.runner.command import own_folder
from lcx_lightning.schema.checked import SettingError, section
from lcx_lightning.schema.near import did_you_mean
from lcx_lightning.schema.yaml_files import read_yaml

PACKAGE = Path(str(files("experiments"))) / "sweeps"
PROGRAM = "experiments.run"
KEYS = ("program", "command", "project", "entity", "name", "description", "method", "metric", "parameters")
MORE_KEYS = ("early_terminate", "run_cap")
METHODS = ("grid", "random", "bayes")
OF_SERVER = ("logger", "logger.")  # what a command sets for the sake of the server
TAKES = re.compile(r"^# (\d+ cells?, about .*?):?$", re.MULTILINE)
DRAWN = ("distribution", "min", "max", "q", "mu", "sigma")
GIVEN = {"value": "constant", "values": "categorical"}  # and the distribution that W&B calls it
Part = TypeVar("Part")
Goal = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Metric:
    """The metric by which cells are judged, by the name that the logger has for it."""

    name: str
    goal: Goal = "minimize"


@dataclass(frozen=True)
class Hyperband:
    """How runs are ended early. Numbers count evaluations during training."""

    type: Literal["hyperband"]
    min_iter: PositiveInt | None = None
    max_iter: PositiveInt | None = None
    s: PositiveInt = 2
    eta: Annotated[int, Ge(2)] = 3

    def __post_init__(self) -> None:
        if (self.min_iter is None) == (self.max_iter is None):
            raise SettingError(
                f"early_terminate needs min_iter or max_iter, one of them, got {self.min_iter} and {self.max_iter}."
            )


@dataclass(frozen=True)
class Sweep:
    """What a file of a sweep asks for.

    Args:
        path: The file.
        method: How cells are chosen: grid, random or bayes.
        words: Overrides that all cells share, in the order of the file.
        config_dir: Folder of the user's own configurations, which the command names; None if it names none.
        values: Values of each parameter that the cells turn, by its key.
        drawn: Distributions that parameters are drawn from, by key.
        metric: Name of the metric, as the logger has it; None if the file names none.
        goal: What is sought: minimize or maximize.
        early_terminate: How runs are ended early; None if none is.
        run_cap: Largest number of cells; None if there is none.
        takes: How long the file says that it takes, in a comment such as `# 21 cells, about 20 minutes on two cores:`;
            None if it does not say so.
    """

    path: Path
    method: str
    words: list[str]
    config_dir: Path | None
    values: dict[str, list[Any]]
    drawn: dict[str, dict[str, Any]]
    metric: str | None
    goal: Goal
    early_terminate: Hyperband | None
    run_cap: int | None
    takes: str | None


def find_sweep(name: str) -> Path:
    """Return the file of a sweep: a path, or the name of one of the package.

    Raises:
        ValueError: If there is no such one. The message says which there are.
    """
    given = Path(name).expanduser()
    packaged = PACKAGE / f"{given.stem}.yaml"
    if given.is_file():
        return given
    if packaged.is_file() and given.parent.name in ("", "sweeps"):
        return packaged
    names = sorted(path.stem for path in PACKAGE.glob("*.yaml"))
    raise ValueError(
        f"There is no sweep {name}: a file is needed, or the name of one of the package.{did_you_mean(name, names)} "
        f"There are: {', '.join(names)}."
    )


def read_sweep(path: Path) -> Sweep:
    """Return what a file of a sweep asks for.

    Raises:
        ValueError: If it is no file of a sweep of this program.
    """
    found: Any = OmegaConf.to_container(read_yaml(path), resolve=False)
    _check_keys(found, path)
    command = found.get("command") or []
    if not isinstance(command, list):
        raise ValueError(f"{path}: command must be a list of words, got {command!r}.")
    command = [str(word) for word in command]
    if PROGRAM not in (found.get("program"), *command):
        raise ValueError(f"{path}: program must be {PROGRAM}, got {found.get('program')!r}.")
    parameters = _parameters(found.get("parameters"), path)
    metric = _part(Metric, found, "metric", path)
    for key, one in parameters.items() if found["method"] == "grid" else ():
        if "value" not in one and "values" not in one:
            raise ValueError(
                f"{path}: {key} is drawn, and a grid draws nothing: give it values, or take method random."
            )
    return Sweep(
        path=path,
        method=found["method"],
        words=[*_overrides(command), *(f"{key}={one['value']}" for key, one in parameters.items() if "value" in one)],
        config_dir=own_folder(command),
        values={key: list(one["values"]) for key, one in parameters.items() if "values" in one},
        drawn={key: one for key, one in parameters.items() if "value" not in one and "values" not in one},
        metric=metric and metric.name,
        goal=metric.goal if metric else "minimize",
        early_terminate=_part(Hyperband, found, "early_terminate", path),
        run_cap=found.get("run_cap"),
        takes=said[1] if (said := TAKES.search(path.read_text(encoding="utf-8"))) else None,
    )


def is_grid(sweep: Sweep) -> bool:
    """Return whether every combination of values is a cell; else cells are drawn."""
    return sweep.method == "grid"


def _check_keys(found: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError for a key that no file of a sweep has, or a method that there is not."""
    for key in found:
        if key not in (*KEYS, *MORE_KEYS):
            raise ValueError(f"{path}: a file of a sweep has no {key!r}.{did_you_mean(key, (*KEYS, *MORE_KEYS))}")
    if found.get("method") not in METHODS:
        raise ValueError(f"{path}: method must be {', '.join(METHODS)}, got {found.get('method')!r}.")
    cap = found.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
        raise ValueError(f"{path}: run_cap must be a whole number of at least 1, got {cap!r}.")


def _part(kind: type[Part], found: Mapping[str, Any], name: str, path: Path) -> Part | None:
    """Return a part of a file, None if there is none; a ValueError if it holds what has no meaning there."""
    part = found.get(name) or {}
    if not isinstance(part, dict):
        raise ValueError(f"{path}: {name} must be a mapping, such as name: perplexity/last_k/4L, got {part!r}.")
    try:
        return section(kind, part, name) if part else None
    except SettingError as error:
        raise ValueError(f"{path}: {error}") from error


def _overrides(command: Iterable[str]) -> list[str]:
    """Return the overrides of all cells among the words of a command, without those that name a logger."""
    words = [word for word in command if word.startswith("~") or ("=" in word and not word.startswith(("-", "${")))]
    return [word for word in words if not word.startswith(OF_SERVER[1]) and word.partition("=")[0] != OF_SERVER[0]]


def _parameters(found: Any, path: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of a file by key.

    Raises:
        ValueError: If a parameter has neither a value, nor values, nor a distribution, or a value is null.
    """
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{path}: parameters must be a mapping from keys to values, got {found!r}.")
    for key, one in found.items():
        if not isinstance(key, str):
            raise ValueError(f"{path}: the key of a parameter is a text, got {key!r}.")
        ways = [way for way in ("value", "values") if isinstance(one, dict) and way in one]
        drawn = isinstance(one, dict) and not ways and {*one} & {*DRAWN}
        if len(ways) != 1 and not drawn:
            raise ValueError(f"{path}: {key} needs a value, a list of values, or min and max, got {one!r}.")
        if ways == ["values"] and not isinstance(one["values"], list):
            raise ValueError(f"{path}: the values of {key} must be a list, got {one['values']!r}.")
        for name in one if ways else ():
            if name != ways[0] and (name, one[name]) != ("distribution", GIVEN[ways[0]]):
                raise ValueError(f"{path}: {key} has {name}: {one[name]!r} beside {ways[0]}, which changes nothing.")
        if ways and None in (one["values"] if ways == ["values"] else [one["value"]]):
            raise ValueError(
                f'{path}: {key} has the value null, which W&B hands on as None, a text. Write "null", in quotes.'
            )
    return found
