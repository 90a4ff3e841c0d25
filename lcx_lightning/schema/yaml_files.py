"""Mappings of YAML files, refused in a sentence before anything is made of a file that is damaged or explodes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcx_lightning.schema.kinds import shown

MOST = 10_000  # values of a file whose aliases are written out: the largest file of this program has 300
DEEPEST = 32  # levels of mappings and lists


def read_yaml(path: Path) -> DictConfig:
    """Return the mapping in a YAML file, with interpolations such as `${factor}` still open.

    Raises:
        ValueError: If it is not UTF-8, not YAML, no mapping, too large or too deep. The message names the file, and
            the line if that is known.
        OSError: If there is no such file, or it cannot be read.
    """
    with naming_yaml(path):
        return _mapping_in(path.read_bytes().decode("utf-8")).copy()


@lru_cache(maxsize=256)  # the cells of a sweep read the same method files again and again
def _mapping_in(text: str) -> DictConfig:
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    if tree is not None:
        _measure(tree, {}, 0)
        if not isinstance(tree, yaml.MappingNode):
            raise ValueError(f"it must hold a mapping, got {shown(yaml.safe_load(text))}")
    found = OmegaConf.load(io.StringIO(text))
    assert isinstance(found, DictConfig)
    return found


@contextmanager
def naming_yaml(files: Path | str) -> Iterator[None]:
    """Raise a ValueError that names a file where what it holds, its values or its interpolations, is refused.

    An empty name changes nothing.
    """
    try:
        yield
    except (ValueError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        if not files or (isinstance(error, ValueError) and str(files) in str(error)):
            raise
        raise ValueError(f"{files}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """Return what is wrong, in one line that ends with a full stop."""
    said = str(error)
    if isinstance(error, RecursionError):
        said = "it is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        said = f"its byte {error.start} is not UTF-8"
    elif isinstance(error, OmegaConfBaseException):
        key = f"{error.full_key}: " if error.full_key else ""
        said = key + (error.msg or said).split("\n")[0]
    elif isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        said = f"no YAML in line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    elif isinstance(error, yaml.YAMLError):
        said = f"no YAML: {' '.join(said.split())}"
    elif "integer string conversion" in said:
        said = "it has a number of thousands of digits"
    return f"{said.rstrip('.')}."


def _measure(node: Any, known: dict[int, int], depth: int) -> int:
    """Return how many values a node of a YAML file stands for, and all that it names by aliases.

    Raises:
        ValueError: If it is part of itself, too deep, or stands for too many.
    """
    if depth > DEEPEST:
        raise ValueError(f"it is nested too deeply, in more than {DEEPEST} levels")
    if id(node) not in known:
        known[id(node)] = 0  # while it is measured
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_measure(one, known, depth + 1) for one in inner)
    size = known[id(node)]
    line = f"line {node.start_mark.line + 1}"
    if not size:
        raise ValueError(f"{line}: the value is a part of itself, by an alias")
    if size > MOST:
        raise ValueError(f"{line}: its aliases, written out, are more than {MOST:,} values")
    return size
