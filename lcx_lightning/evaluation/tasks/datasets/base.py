"""Examples of a task, the texts for its prompt and the reference answers, from local files or the hub."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from datasets.exceptions import DatasetGenerationError

from lcx_lightning.data.corpora.loading import json_object, lines_of, load_rows, readable
from lcx_lightning.data.corpora.paths import is_local, resolve, without_network
from lcx_lightning.data.hub_access import why_missing

SOURCE = "evaluation.NAME.source"  # key of a source in a configuration
SHOWN = 60  # characters of a wrong value in a message
ON_HUB = ("path", "name", "revision")  # arguments that find a dataset on the hub


@dataclass(frozen=True)
class Row:
    """The values of a row by column, and readers that raise a ValueError with its place if a value is something else.

    Attributes:
        values: Values by name of the column.
        place: File or dataset with the number of the line or row, for messages.
    """

    values: Mapping[str, Any]
    place: str

    def value(self, column: str) -> Any:
        """Return the value in a column, which may be null."""
        if column not in self.values:
            raise ValueError(f"{self.place} needs the column {column!r}; it has {', '.join(sorted(self.values))}.")
        return self.values[column]

    def text(self, column: str) -> str:
        """Return a text."""
        value = self.value(column)
        return value if isinstance(value, str) else self._refuse(column, "a text")

    def texts(self, column: str, least: int = 1) -> tuple[str, ...]:
        """Return the texts of a list with at least so many."""
        value = self.value(column)
        if not isinstance(value, list) or len(value) < least or not all(isinstance(one, str) for one in value):
            self._refuse(column, f"a list of {least} or more texts")
        return tuple(value)

    def flag(self, column: str) -> bool:
        """Return true or false."""
        value = self.value(column)
        return value if isinstance(value, bool) else self._refuse(column, "true or false")

    def name(self, column: str) -> str:
        """Return a text or a whole number as text."""
        value = self.value(column)
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._refuse(column, "a text or a whole number")
        return str(value)

    def row(self, column: str) -> "Row":
        """Return the value of a column that has columns itself."""
        value = self.value(column)
        return (
            Row(value, f"{self.place}, {column}") if isinstance(value, Mapping) else self._refuse(column, "an object")
        )

    def lists(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return the items of lists of equal length side by side."""
        values = [self.value(column) for column in columns]
        for column, value in zip(columns, values, strict=True):
            if not isinstance(value, list) or len(value) != len(values[0]):
                self._refuse(column, f"a list as long as that of {columns[0]!r}")
        return list(zip(*values, strict=True))

    def _refuse(self, column: str, needed: str) -> NoReturn:
        found = json.dumps(self.values[column], ensure_ascii=False, default=str)
        found = found if len(found) <= SHOWN else f"{found[:SHOWN]} ..."
        raise ValueError(f"{self.place}: the column {column!r} needs {needed}, found {found}. Correct the file.")


@dataclass(frozen=True)
class Example:
    """One question to a model.

    Attributes:
        name: Name in records, by which arms are paired.
        fields: Texts by the names that a prompt uses: context, input ...
        answers: References, any of which is right.
        classes: All labels of a classification task; empty for other tasks.
    """

    name: str
    fields: Mapping[str, str]
    answers: tuple[str, ...]
    classes: tuple[str, ...] = ()


class ExampleSource(ABC):
    """Examples of one or several tasks.

    Attributes:
        name: Name of the dataset in records.
    """

    name: str

    @abstractmethod
    def read(self, task: str) -> list[Example]:
        """Return the examples of a task, in an order that is the same in every process.

        Raises:
            ValueError: If there are none, or their format is wrong.
        """


def loaded(load: Mapping[str, Any], repository: str | None = None, local: str | None = None) -> list[Row]:
    """Return the rows of a dataset that `datasets.load_dataset` loads, counted from 0.

    Args:
        load: Arguments of `load_dataset`, a split among them.
        repository: Repository of the hub that holds the files. None if it is the path.
        local: Overrides that read a copy of the dataset in the folder DIR. None for those of `load`.

    Raises:
        ValueError: If the dataset cannot be reached or read.
    """
    source, split = source_of(load), load["split"]
    found = resolve({name: value for name, value in load.items() if name != "split"}, [split])
    try:
        rows = list(readable(load_rows(found, split), found))
    except DatasetGenerationError as error:
        raise ValueError(f"{source} cannot be read: {error.__cause__ or error} Correct the file.") from error
    except OSError as error:
        values = {name: "DIR" if name == "path" else "null" for name in ON_HUB if name in load}
        overrides = local or " ".join(f"{SOURCE}.load.{name}={value}" for name, value in values.items())
        advice = without_network(repository or load["path"], overrides, load.get("revision"))
        why = str(error).rstrip(".") if is_local(found) else why_missing(source, error)
        raise ValueError(f"The dataset {source} could not be read: {why}. {advice}") from error
    return checked([Row(row, f"{source}, row {number}") for number, row in enumerate(rows)], source)


def source_of(load: Mapping[str, Any]) -> str:
    """Return the files or the dataset that arguments of `load_dataset` name, for messages."""
    return str(load.get("data_files") or load["path"])


def json_lines(path: Path) -> list[Row]:
    """Return the rows of a file of JSON lines.

    Raises:
        ValueError: If it is missing, empty, or a line is no JSON object.
    """
    if not path.is_file():
        names = sorted(p.name for p in path.parent.glob("*.jsonl")) if path.parent.is_dir() else []
        raise ValueError(
            f"The file {path} is needed; its folder has {', '.join(names) or 'no such files'}. Add the file, or choose "
            "the tasks that have one with evaluation.NAME.chosen."
        )
    return rows_of(lines_of(path), str(path))


def rows_of(lines: Iterable[tuple[int, str]], source: str) -> list[Row]:
    """Return the rows of numbered lines of JSON; ValueError with the place if there are none, or one is no object."""
    places = ((line, f"{source}, line {number}") for number, line in lines)
    return checked([Row(json_object(line, place), place) for line, place in places], source)


def checked(rows: list[Row], source: str) -> list[Row]:
    """Return the rows; ValueError if there are none."""
    if not rows:
        raise ValueError(f"{source} holds no examples: give a file with at least one.")
    return rows


def unique(examples: Iterable[Example], source: str) -> list[Example]:
    """Return the examples; ValueError if two have the same name, by which arms are paired."""
    found: dict[str, Example] = {}
    for example in examples:
        if example.name in found:
            raise ValueError(f"{source} has two examples called {example.name!r}: give each an id of its own.")
        found[example.name] = example
    return list(found.values())
