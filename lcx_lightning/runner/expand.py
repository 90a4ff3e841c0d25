"""The lines of an experiment expanded: every arm's configuration, composed and checked before torch is imported."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from lcx_lightning.methods.library import complete, read_method
from lcx_lightning.runner.own_files import method_file, method_files_named, own_folders
from lcx_lightning.runner.refusals import explained, wrong_word
from lcx_lightning.runner.secrets import masked_words
from lcx_lightning.runner.settings import (
    KNOBS,
    check_name,
    check_needed,
    check_of_arm,
    check_trained,
    idle_knobs,
    leave_open,
    settle,
)
from lcx_lightning.runner.values import check_values
from lcx_lightning.schema.targets import check_targets

OF_RECIPE = ("method", "training")  # groups that a recipe chooses
ANY_LENGTH = 4096  # tokens, where the model has not told its pretraining length yet


class Cell(NamedTuple):
    """One configuration of the grid, without its seed."""

    name: str
    methods: list[str]
    config: DictConfig
    own_modules: list[str]  # modules that may hold classes of the user's own
    words: list[str]  # overrides that it is composed of


class Grid(NamedTuple):
    """All configurations of an experiment."""

    cells: list[Cell]
    line: list[str]  # overrides of the command line
    replaced: list[str]  # sentences: what the command line replaces in the lines of `arms`
    seeds: list[int]  # every cell is an arm at each of these


def expand(config: DictConfig, command_line: list[str]) -> Grid:
    """Return the configuration of every arm.

    Args:
        config: Composed configuration of the command line.
        command_line: Overrides of the command line. They win over those of an arm, a choice of a group also over values
            that an arm sets inside the group, and a recipe over method and training.

    Raises:
        ValueError: If a name or a value makes no sense. The message names its whole key.
    """
    _check_package(config, command_line)
    settle(config)
    check_name(config)
    parser = OverridesParser.create()
    given = _by_key(parser, command_line)
    grid: dict[tuple[str, ...], dict[str, str]] = {}
    written: set[tuple[str, ...]] = set()
    replaced: dict[str, set[str]] = {}
    for line in config.arms or [""]:
        for overrides in _combinations(parser, line):
            keys = _by_key(parser, overrides)
            check_of_arm(keys.values())
            written.add(tuple(sorted(keys.values())))
            own = {}
            for key, word in keys.items():
                group = key.split(".")[0]
                of_recipe = ["recipe"] if group in OF_RECIPE else []
                winner = next((name for name in (key, group, *of_recipe) if name in given), None)
                if winner is None:
                    own[key] = word
                else:
                    replaced.setdefault(given[winner], set()).add(word)
            grid.setdefault(tuple(sorted([*own.values(), *given.values()])), own)
    composed = [(own, _composed(config, [*given.values(), *own.values()])) for own in grid.values()]
    cells = _named_cells(_without_idle_knobs(composed), [*given.values()])
    seeds = list(range(config.seed, config.seed + config.seeds))
    return Grid(cells, command_line, _what_is_replaced(replaced, len(written), len(cells)), seeds)


def _check_package(config: DictConfig, command_line: list[str]) -> None:
    """Raise a ValueError if the file of an experiment sets its values inside of the group of experiments."""
    if "exp" in config:
        words = [word for word in command_line if word.startswith("+exp=")]
        raise ValueError(
            f"The file of {' '.join(words) or 'the experiment'} sets values of exp, and none of a run: its first line "
            "must be `# @package _global_`."
        )


def _combinations(parser: OverridesParser, line: str) -> list[list[str]]:
    """Return the overrides of every arm that a line stands for: `a=1,2 b=3` for two."""
    if said := wrong_word(words_of(line)):
        raise ValueError(f"The line {line!r} of arms: {said}")
    try:
        return BasicSweeper.split_arguments(parser.parse_overrides(words_of(line)), None)[0]
    except HydraException as error:
        raise ValueError(f"The line {line!r} of arms: {explained(error, words_of(line))}") from error


def _composed(config: DictConfig, overrides: list[str]) -> DictConfig:
    """Return the checked configuration of an arm."""
    try:
        arm = compose("run", overrides, return_hydra_config=True)
    except HydraException as error:
        raise ValueError(explained(error, overrides)) from error
    return checked_arm(config, arm)


def checked_arm(config: DictConfig, arm: DictConfig) -> DictConfig:
    """Return the composed configuration of an arm, which is sound as far as can be seen without building it.

    Args:
        config: Configuration of the whole experiment, whose name the arm gets.
        arm: Configuration of the arm, with that of Hydra in it; it is changed in place.

    Raises:
        ValueError: If a value makes no sense. The message names its whole key.
    """
    OmegaConf.set_readonly(arm, False)
    arm.experiment = config.experiment
    own_modules = [Path(folder).name for folder in own_folders(arm)]
    with method_files_named(methods_of(arm), arm):
        settle(arm)
        given = _without_hydra(arm)
        check_needed(given)
        check_targets(given, own_modules)
        plain = _plain_values(given)
        check_targets(plain, own_modules)  # a resolver may have made one
        check_values(plain)
    return arm


def _without_hydra(arm: DictConfig) -> DictConfig:
    """Return a copy of the values of a composed configuration, at any L if the model tells its own."""
    given = OmegaConf.masked_copy(arm, [str(part) for part in arm if part != "hydra"])
    OmegaConf.set_struct(given, False)
    if OmegaConf.is_missing(given, "pretrain_length"):
        given.pretrain_length = ANY_LENGTH
    return given


def _plain_values(given: DictConfig) -> dict[str, Any]:
    """Return values without interpolations; those that are left open are left out, in place."""
    given.method = complete(given.method)
    leave_open(given)
    plain: Any = OmegaConf.to_container(given, resolve=True)
    return plain


def _without_idle_knobs(composed: list[tuple[dict[str, str], DictConfig]]) -> list[tuple[dict[str, str], DictConfig]]:
    """Return the arms, those as one that differ in nothing but knobs that they do not depend on."""
    apart: dict[tuple[str, ...], tuple[dict[str, str], DictConfig]] = {}
    for own, arm in composed:
        idle = idle_knobs(arm) if own.keys() & set(KNOBS) else []
        turned = {name: word for name, word in own.items() if name not in idle}
        apart.setdefault(tuple(sorted(turned.values())), (turned, arm))
    return list(apart.values())


def _what_is_replaced(replaced: dict[str, set[str]], written: int, left: int) -> list[str]:
    fewer = f" {left} of {written} arms {'is' if left == 1 else 'are'} left." if left < written else ""
    return [
        f"{word} takes the place of {', '.join(sorted(masked_words(words)))} in the lines of arms.{fewer}"
        for word, words in zip(masked_words(list(replaced)), replaced.values(), strict=True)
    ]


def _named_cells(composed: list[tuple[dict[str, str], DictConfig]], given: list[str]) -> list[Cell]:
    """Return the cells, each named by its methods and by what sets it apart from those that share them."""
    methods = [methods_of(arm) for _, arm in composed]
    rivals: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for names, (own, _) in zip(methods, composed, strict=True):
        rivals.setdefault(tuple(names), []).append(own)
    named = [arm_name(names, own, rivals[tuple(names)]) for names, (own, _) in zip(methods, composed, strict=True)]
    shared = {name for name, count in Counter(named).items() if count > 1}
    cells = []
    for name, names, (own, arm) in zip(named, methods, composed, strict=True):
        whole = arm_name(names, own, rivals[tuple(names)], whole=True) if name in shared else name
        check_trained(own.values(), arm, whole)
        modules = [Path(folder).name for folder in own_folders(arm)]
        cells.append(Cell(whole, names, arm, modules, [*given, *own.values()]))
    return cells


def words_of(line: str) -> list[str]:
    """Return the overrides in a line: words between blanks, but for blanks in quotes and in brackets."""
    words, quote, depth = [""], "", 0
    for before, character in zip(f" {line}", line, strict=False):
        if quote:
            quote = "" if character == quote and before != "\\" else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "[{(") - (character in "]})")
        if character.isspace() and not quote and not depth:
            words.append("")
        else:
            words[-1] += character
    return [word for word in words if word]


def _by_key(parser: OverridesParser, overrides: Sequence[str]) -> dict[str, str]:
    """Return overrides by what they override."""
    return {parsed.key_or_group: str(parsed.input_line) for parsed in parser.parse_overrides(list(overrides))}


def methods_of(config: DictConfig) -> list[str]:
    """Return the names of the composed methods, in order.

    Raises:
        ValueError: If two of them set one part differently.
    """
    choices = config.hydra.runtime.choices
    if "method" in choices:
        return [choices["method"]]
    lines = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    lists: list[Any] = [line.value() for line in lines if line.key_or_group == "method"]  # Hydra keeps no lists
    names = [name for names in lists for name in names]
    read_method([method_file(name, config) for name in names])
    return names


def arm_name(methods: list[str], own: dict[str, str], rivals: list[dict[str, str]], whole: bool = False) -> str:
    """Return the joined methods; where several arms share them, with what sets this arm apart.

    Args:
        methods: Names of the composed methods.
        own: Overrides of the arm, by what they override.
        rivals: Overrides of all arms that share the methods, this one included.
        whole: Whether settings are named with all of their key, and not with its last part.
    """
    shared = set.intersection(*(set(rival.items()) for rival in rivals))
    apart = [(name, line) for name, line in own.items() if (name, line) not in shared]
    words = [line if whole else line[line.rfind(".", 0, line.find("=")) + 1 :] for _, line in apart]
    return " ".join(["+".join(methods), *masked_words(words)])
