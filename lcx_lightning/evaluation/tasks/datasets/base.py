"""Examples of a task, the texts for its prompt and the reference answers, from local files or the hub."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetGenerationError

from lcx_lightning.data.corpora.loading import json_object, lines_of, load_rows, readable
from lcx_lightning.data.corpora.paths import resolve, without_network

SOURCE = "evaluation.NAME.source"  # key of a source in a configuration
ON_HUB = ("path", "name", "revision")  # arguments that find a dataset on the hub


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


def loaded(load: Mapping[str, Any], repository: str | None = None, local: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a dataset that `datasets.load_dataset` loads.

    Args:
        load: Arguments of `load_dataset`, a split among them.
        repository: Repository of the hub that holds the files. None if it is the path.
        local: Overrides that read a copy of the dataset in the folder DIR. None for those of `load`.

    Raises:
        ValueError: If the dataset cannot be reached or read.
    """
    source, split = str(load.get("data_files") or load["path"]), load["split"]
    found = resolve({name: value for name, value in load.items() if name != "split"}, [split])
    try:
        rows = list(readable(load_rows(found, split), found))
    except DatasetGenerationError as error:
        raise ValueError(f"{source} cannot be read: {error.__cause__ or error} Correct the file.") from error
    except OSError as error:
        values = {name: "DIR" if name == "path" else "null" for name in ON_HUB if name in load}
        overrides = local or " ".join(f"{SOURCE}.load.{name}={value}" for name, value in values.items())
        advice = without_network(repository or load["path"], overrides, load.get("revision"))
        raise ValueError(f"The dataset {source} could not be read: {str(error).rstrip('.')}. {advice}") from error
    return checked(rows, source)


def json_lines(path: Path) -> list[dict[str, Any]]:
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
    return checked([json_object(line, f"{path}, line {number}") for number, line in lines_of(path)], str(path))


def checked(rows: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Return the rows; ValueError if there are none."""
    if not rows:
        raise ValueError(f"{source} holds no examples: give a file with at least one.")
    return rows


def column(row: Mapping[str, Any], name: str, source: str) -> Any:
    """Return the value of a row in a column; ValueError if it has no such column."""
    if name not in row:
        raise ValueError(f"{source} needs the column {name!r}; a row has {', '.join(sorted(row))}.")
    return row[name]


def unique(examples: Iterable[Example], source: str) -> list[Example]:
    """Return the examples; ValueError if two have the same name, by which arms are paired."""
    found: dict[str, Example] = {}
    for example in examples:
        if example.name in found:
            raise ValueError(f"{source} has two examples called {example.name!r}: give each an id of its own.")
        found[example.name] = example
    return list(found.values())
