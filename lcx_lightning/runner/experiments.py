"""The experiments there are, with the question that each answers and how long it takes: `lcx run exp=?`."""

import argparse
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from lcx_lightning.results.report.screen import screen
from lcx_lightning.schema.yaml_files import read_yaml

PACKAGE = Path(str(files("experiments.configs"))) / "exp"


class Known(NamedTuple):
    """An experiment that can be run: `lcx run +exp=NAME`."""

    name: str
    question: str
    takes: str  # on two cores of a laptop, in words


def experiments(own: Path | None = None) -> list[Known]:
    """Return the experiments of the package and of a folder of one's own, by name.

    Args:
        own: Folder of --config-dir, with experiments in its folder exp.
    """
    paths = {path.stem: path for folder in (PACKAGE, *([own / "exp"] if own else [])) for path in folder.glob("*.yaml")}
    found = {name: read_yaml(path) for name, path in sorted(paths.items())}
    return [Known(name, str(one.get("question") or ""), str(one.get("takes") or "")) for name, one in found.items()]


def asks_for_list(line: list[str]) -> bool:
    """Return whether a command line asks which experiments there are."""
    return any(word.lstrip("+") == "exp=?" for word in line)


def table_of(every: list[Known]) -> Table:
    """Return the experiments as a table for the terminal."""
    table = Table("experiment", "question", "takes", box=None, pad_edge=False)
    for one in every:
        table.add_row(*one)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Print the experiments of the package, and return 0."""
    argparse.ArgumentParser(prog="lcx experiments", description=__doc__).parse_args(arguments)
    screen().print(table_of(experiments()))
    return 0
