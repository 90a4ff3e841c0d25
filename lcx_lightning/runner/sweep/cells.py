"""The cells of a sweep: every combination of its values, composed as the command of an agent would be."""

from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from lcx_lightning.runner.command import METHODS
from lcx_lightning.runner.expand import Cell, Grid, checked_arm, methods_of
from lcx_lightning.runner.own_files import check_own_files, own_folders
from lcx_lightning.runner.refusals import explained, wrong_word
from lcx_lightning.runner.settings import KNOBS, OF_EXPERIMENT, check_name, key_of, settle
from lcx_lightning.runner.sweep.files import Sweep

MOST = 10_000  # cells, unless it is confirmed
SEED = "seed"
Of = TypeVar("Of")


class Cells(NamedTuple):
    """A sweep as a grid: its configuration, and what each cell turns, seeds aside."""

    config: DictConfig
    grid: Grid
    turned: list[str]  # by rank in the grid: `window=16 sink_tokens=4`


def turned(parameters: dict[str, Of], overrides: Sequence[str]) -> dict[str, Of]:
    """Return the parameters that cells turn: those of the file, but for keys that the command line sets."""
    given = set(map(key_of, overrides))
    return {key: one for key, one in parameters.items() if key.lstrip("+") not in given}


def check_count(sweep: Sweep, values: dict[str, list[Any]], confirmed: bool) -> None:
    """Raise a ValueError if a grid is empty, or has very many cells and nobody has confirmed it."""
    for key, ones in values.items():
        if not ones:
            raise ValueError(f"{sweep.path}: {key} has no values, so that the grid is empty. Give it one at least.")
    count = prod(map(len, values.values()))
    if count > MOST and not confirmed:
        raise ValueError(
            f"{sweep.path} has {count:,} cells, more than {MOST:,}. Leave out values, set some on the command line, or "
            "add --yes if all of them are meant."
        )


def cells_of(sweep: Sweep, overrides: Sequence[str]) -> Cells:
    """Return the cells of a grid, composed. Hydra must be initialized.

    Args:
        sweep: What the file asks for.
        overrides: Words of the command line, which win over those of the file.

    Raises:
        ValueError: If a word cannot be read, or a cell cannot be composed. The message names the cell.
    """
    config, shared = shared_by_cells(sweep, overrides)
    values = turned(sweep.values, overrides)
    of_all = [key for key in values if key in OF_EXPERIMENT and key != SEED]
    if of_all:
        raise ValueError(f"{sweep.path}: {of_all[0]} belongs to the whole sweep: give it one value.")
    first_seeds = values.pop(SEED, None)
    own_words = [
        [f"{key}={value}" for key, value in zip(values, ones, strict=True)] for ones in product(*values.values())
    ]
    composer = Composer()
    cells = [cell_of(sweep, config, shared, own, composer) for own in own_words]
    grid = Grid(cells, shared, [], _seeds(sweep, first_seeds or [config.seed], config.seeds))
    return Cells(config, grid, [" ".join(own) for own in own_words])


def shared_by_cells(sweep: Sweep, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Return the configuration of the whole sweep, and the overrides that all its cells have: see `cells_of`."""
    if said := wrong_word(overrides):
        raise ValueError(said)
    shared = [*_own_folder(sweep), *_last_of_each([*sweep.words, *overrides])]
    if not any(word.startswith("experiment=") for word in shared):
        shared.append(f"experiment={sweep.path.stem}")
    return _composed(shared), shared


def _seeds(sweep: Sweep, first: list[Any], count: int) -> list[int]:
    """Return the seeds of every cell: `count` from each first one on."""
    if wrong := [one for one in first if not isinstance(one, int) or isinstance(one, bool) or one < 0]:
        raise ValueError(f"{sweep.path}: seed must be an integer of at least 0, got {wrong[0]!r}.")
    return list(dict.fromkeys(one + more for one in first for more in range(count)))


def _own_folder(sweep: Sweep) -> list[str]:
    """Return the word by which Hydra finds the user's own configurations, none if there are none."""
    return [f"hydra.searchpath=[{METHODS},'file://{sweep.config_dir}']"] if sweep.config_dir else []


def _last_of_each(words: Sequence[str]) -> list[str]:
    """Return the last word for each key, in the order in which the keys first came."""
    last = {key_of(word): word for word in words}
    return list(last.values())


def _composed(shared: list[str]) -> DictConfig:
    """Return the configuration of the whole sweep."""
    check_own_files(shared)
    try:
        config = compose("run", shared)
    except HydraException as error:
        raise ValueError(explained(error, shared)) from error
    settle(config)
    check_name(config)
    return config


class Composer:
    """Compose configurations that differ in knobs alone, such as `window=16`, once, and set the knobs: it is faster."""

    def __init__(self) -> None:
        self._parser = OverridesParser.create()
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, words: list[str]) -> DictConfig:
        """Return the configuration of a command line, with that of Hydra in it.

        Raises:
            HydraException: If it cannot be composed.
        """
        others = tuple(word for word in words if word.partition("=")[0] not in KNOBS)
        if others not in self._composed:
            self._composed[others] = compose("run", list(others), return_hydra_config=True)
        arm = self._composed[others].copy()
        for knob in self._parser.parse_overrides([word for word in words if word not in others]):
            OmegaConf.update(arm, knob.key_or_group, knob.value())
        return arm


def cell_of(sweep: Sweep, config: DictConfig, shared: list[str], own: list[str], composer: Composer) -> Cell:
    """Return a cell, named by its methods as a single command would name it: a report tells cells apart by itself."""
    words = _last_of_each([*shared, *own])
    try:
        arm = checked_arm(config, composer(words))
        methods = methods_of(arm)
    except HydraException as error:
        raise ValueError(f"{sweep.path}, {_cell_name(own)}: {explained(error, words)}") from error
    except ValueError as error:
        raise ValueError(f"{sweep.path}, {_cell_name(own)}: {error}") from error
    return Cell("+".join(methods), methods, arm, [Path(folder).name for folder in own_folders(arm)], words)


def _cell_name(own: list[str]) -> str:
    return f"cell {' '.join(own)}" if own else "its only cell"
