"""Archives: the records of an experiment for a repository or a colleague, without what holds on one machine alone."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

SUFFIX = ".zip"
PLACES = {"results_dir": "results", "cache_dir": "~/.cache/lcx_lightning"}  # as run.yaml has them


def places_of(configs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The folders in configurations, each with the usual one in its place."""
    return {config[key]: usual for config in configs for key, usual in PLACES.items() if key in config}


def portable(path: Path, places: Mapping[str, str], without: Sequence[str] = ("checkpoint",)) -> str:
    """The text of a JSON file without some keys, such as where its checkpoint is, and with the usual folders."""
    held: dict[str, Any] = json.loads(path.read_text())
    text = json.dumps({key: value for key, value in held.items() if key not in without}, indent=2)
    for place, usual in places.items():
        text = text.replace(json.dumps(place)[1:-1], usual) if Path(place).is_absolute() else text
    return text


def save_archive(files: dict[str, str], archive: Path) -> None:
    """Write texts into an archive, by name; the same texts make the same bytes at any time."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive, "w", ZIP_DEFLATED, compresslevel=9) as packed:
        for name, text in sorted(files.items()):
            packed.writestr(ZipInfo(name), text, ZIP_DEFLATED)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Give a folder with the files of an archive, for as long as they are read.

    Raises:
        ValueError: If it is damaged, or no archive. Errors of whoever reads the files name the archive in their place.
    """
    with TemporaryDirectory() as folder:
        try:
            with ZipFile(archive) as packed:
                packed.extractall(folder)
        except (BadZipFile, zlib.error, NotImplementedError) as error:
            raise ValueError(f"{archive} is damaged, or no ZIP file: {error}. Fetch it again.") from error
        try:
            yield Path(folder)
        except (ValueError, OSError) as error:
            raise ValueError(named_in(archive, Path(folder), str(error))) from error


def named_in(archive: Path, files: Path, text: str) -> str:
    """What is said of the files of an archive, which are gone when it is read: it names the archive."""
    return text.replace(str(files), str(archive))
