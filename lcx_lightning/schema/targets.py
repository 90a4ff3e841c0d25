"""Which classes a configuration may name: public names of this package, and the user's own module."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lcx_lightning.schema.near import did_you_mean

PACKAGE = "lcx_lightning"


def check_targets(config: DictConfig | dict[str, Any], own_modules: Sequence[str] = ()) -> None:
    """Raise a ValueError if a `_target_` in a configuration is neither public nor in a module of the user's own.

    Args:
        config: Configuration; interpolations of a DictConfig stay open.
        own_modules: Names of modules that the user has given, by --config-dir or with the path of a method file.
    """
    plain: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    own = set(own_modules) - sys.stdlib_module_names  # a folder may be called as a module of Python
    for target in _targets_in({part: node for part, node in plain.items() if part != "hydra"}):
        if not is_public(target) and target.split(".")[0] not in own:
            raise ValueError(
                f"_target_: {target} is not a public name of {PACKAGE}.{_meant(target)} Name one, such as "
                f"{PACKAGE}.scaling.YaRN, or put your class into the folder of --config-dir or of a method file that "
                "you give by its path, and name it FOLDER.MODULE.CLASS."
            )


def _meant(target: str) -> str:
    """Return a question with the public names that are like a name, if it is in a part of this package."""
    part = target.removeprefix(f"{PACKAGE}.").split(".")[0]
    if not target.startswith(f"{PACKAGE}.") or part not in dir(importlib.import_module(PACKAGE)):
        return ""
    names = dir(importlib.import_module(f"{PACKAGE}.{part}"))
    return did_you_mean(target.rpartition(".")[2], names, f"{PACKAGE}.{part}.")


def is_public(target: str) -> bool:
    """Return whether a dotted name is a public name of this package: lcx_lightning.PART.NAME."""
    match target.split("."):
        case [package, part, name] if package == PACKAGE and part in dir(importlib.import_module(PACKAGE)):
            return name in dir(importlib.import_module(f"{PACKAGE}.{part}"))
    return False


def _targets_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from _targets_in(value)
