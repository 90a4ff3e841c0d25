"""Examples in the format of LongBench (arXiv:2308.14508): JSON lines with input, context, answers, all_classes, _id."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile, ZipFile

from lcx_lightning.evaluation.tasks.datasets.base import (
    SOURCE,
    Example,
    ExampleSource,
    column,
    json_lines,
    loaded,
    unique,
)


class LongBenchExamples(ExampleSource):
    """The files of LongBench: TASK.jsonl for each task, in a folder, in its subfolder `data`, or in an archive.

    Args:
        path: Folder of the files, or archive data.zip that holds data/TASK.jsonl, or dataset of the hub that has such
            an archive.
    """

    name = "longbench"

    def __init__(self, *, path: str) -> None:
        self._path = path

    def read(self, task: str) -> list[Example]:
        """Return the examples of a task, named by their `_id`."""
        source = f"{self._path}, task {task},"
        return unique((_example(row, source) for row in self._rows(task)), source)

    def _rows(self, task: str) -> list[dict[str, Any]]:
        place = Path(self._path).expanduser()
        if place.is_dir():
            inner = place / "data"
            return json_lines((inner if inner.is_dir() else place) / f"{task}.jsonl")
        if place.is_file():
            return _zipped(place, task)
        archive = f"hf://datasets/{self._path}/data.zip"
        load = {"path": "json", "data_files": f"zip://data/{task}.jsonl::{archive}", "split": "train"}
        return loaded(load, self._path, f"{SOURCE}.path=DIR/data.zip")


def _zipped(archive: Path, task: str) -> list[dict[str, Any]]:
    """Return the rows of a task in an archive on this machine; `datasets` would go on using an old copy of it.

    Raises:
        ValueError: If it is not an archive, or has no such task.
    """
    try:
        with ZipFile(archive) as opened, TemporaryDirectory() as folder:
            return json_lines(Path(opened.extract(f"data/{task}.jsonl", folder)))
    except (BadZipFile, KeyError) as error:
        raise ValueError(f"{archive} needs to be an archive with data/{task}.jsonl: {error}.") from error


def _example(row: dict[str, Any], source: str) -> Example:
    answers, name = column(row, "answers", source), column(row, "_id", source)
    fields = {field: str(column(row, field, source)) for field in ("context", "input")}
    return Example(str(name), fields, tuple(map(str, answers)), tuple(row.get("all_classes") or ()))
