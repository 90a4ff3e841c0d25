"""Examples in the format of LongBench (arXiv:2308.14508): JSON lines with input, context, answers, all_classes, _id."""

import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from lcx_lightning.data.corpora.loading import lines_in
from lcx_lightning.evaluation.tasks.datasets.base import (
    SOURCE,
    Example,
    ExampleSource,
    Row,
    json_lines,
    loaded,
    rows_of,
    unique,
)
from lcx_lightning.schema.checked import checked

MOST_PACKED = 200  # times its packed size: that of texts is 3 to 10, that of one letter over and over 1,000


class LongBenchExamples(ExampleSource):
    """The files of LongBench: TASK.jsonl for each task, in a folder, in its subfolder `data`, or in an archive.

    Args:
        path: Folder of the files, or archive data.zip that holds data/TASK.jsonl, or dataset of the hub that has such
            an archive.
    """

    name = "longbench"

    @checked
    def __init__(self, *, path: str) -> None:
        self._path = path

    def read(self, task: str) -> list[Example]:
        """Return the examples of a task, named by their `_id`."""
        return unique(map(_example, self._rows(task)), f"{self._path}, {task}.jsonl,")

    def _rows(self, task: str) -> list[Row]:
        place = Path(self._path).expanduser()
        if place.is_dir():
            inner = place / "data"
            return json_lines((inner if inner.is_dir() else place) / f"{task}.jsonl")
        if place.is_file():
            return _zipped(place, task)
        archive = f"hf://datasets/{self._path}/data.zip"
        load = {"path": "json", "data_files": f"zip://data/{task}.jsonl::{archive}", "split": "train"}
        return loaded(load, self._path, f"{SOURCE}.path=DIR/data.zip")


def _zipped(archive: Path, task: str) -> list[Row]:
    """Return the rows of a task in an archive on this machine; `datasets` would go on using an old copy of it.

    Raises:
        ValueError: If it is not a sound archive, has no such task, or unpacks to far more than a text can.
    """
    name = f"data/{task}.jsonl"
    try:
        with ZipFile(archive) as opened:
            member = opened.getinfo(name)
            if member.file_size > MOST_PACKED * member.compress_size:
                raise BadZipFile(f"it unpacks from {member.compress_size:,} bytes to {member.file_size:,}")
            with opened.open(member) as file:
                return rows_of(lines_in(file, f"{archive}, {name}"), f"{archive}, {name}")
    except (BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:  # or encrypted
        said = str(error.args[0] if error.args else "its end is missing").rstrip(".")
        raise ValueError(f"{archive} needs to be a sound archive with {name}: {said}. Download it again.") from error


def _example(row: Row) -> Example:
    fields = {field: row.text(field) for field in ("context", "input")}
    classes = () if row.values.get("all_classes") is None else row.texts("all_classes", least=0)
    return Example(row.name("_id"), fields, row.texts("answers"), classes)
