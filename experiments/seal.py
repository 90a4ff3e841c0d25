"""A finished stage on disk: stage.json says whose it is and seals its files, which are checked before they are used."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lcx_lightning.results import records

NAME = "stage.json"


def seal(folder: Path, key: str, **told: Any) -> None:
    """Write stage.json, last of the files of a stage: its key, the sum of every other file, and what is told."""
    sums = {str(path.relative_to(folder)): _sum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    sums.pop(NAME, None)  # left by a kill
    records.write_json(folder / NAME, {"key": key, "files": sums} | told)


def check_seal(folder: Path, key: str) -> None:
    """Raise a ValueError if a finished stage is not whole, or another one. Older ones say nothing of their files."""
    remedy = f"Move {folder} away, and the same command makes it anew; nothing else is touched."
    try:
        told = records.read_json(folder / NAME)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"The cached stage {folder} is not whole: it has no {NAME} that can be read. {remedy}"
        ) from error
    if told.get("key", key) != key:
        raise ValueError(f"The cached stage {folder} is that of {told['key']}, put where {key} is needed. {remedy}")
    for name, expected in told.get("files", {}).items():
        path = folder / name
        if not path.is_file() or _sum(path) != expected:
            raise ValueError(f"The cached stage {folder} is not whole: {name} is not as it was written. {remedy}")


@contextmanager
def keeping(work: Path) -> Iterator[None]:
    """Say what is kept if what is written in a folder of work cannot be, as on a full disk: raise an OSError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of run.json, torch and safetensors
        last = work / "last.ckpt"
        kept = f"its last checkpoint is kept: {last}" if last.exists() else "no checkpoint of it was due before"
        raise OSError(f"The trained model could not be written to {work}, {kept}. {error}") from error


def _sum(path: Path) -> int:
    """Return the CRC-32 of a file, which is on disk when this returns."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
        os.fsync(file.fileno())
    return found
