"""Rows of a dataset, read with the library `datasets`: local files as they are now, those of the hub from its cache."""

import json
import lzma
import os
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any

import fsspec
from datasets import load_dataset

from lcx_lightning.data.corpora.paths import READERS, file_names, is_local
from lcx_lightning.data.hub_access import look_for_hub

OF_THE_CACHE = ("num_proc", "keep_in_memory", "streaming")  # arguments of `load_dataset` that say how to fill its cache
UNREADABLE = (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError)  # raised on damaged files, also packed ones
UTF8 = (None, "utf-8", "utf-8-sig")
ABOUT_SPLITS = ("Unknown split", "Bad split")  # what its errors about a split begin with


def load_rows(load: Mapping[str, Any], split: str) -> Any:
    """Return the rows of a split, for arguments of `load_dataset` as `resolve` returns them.

    `datasets` keeps a copy of what it has read, and knows files by name and time: a file that was changed, and has the
    time of the old one, would give the old rows. So local files are read anew, row by row, and nothing is kept of them.

    Raises:
        ValueError: If a local file cannot be read, or there is no such split.
    """
    if not is_local(load):
        if load["path"] not in READERS.values() or any(n.startswith("hf://") for n in file_names(load["data_files"])):
            look_for_hub()
        return load_dataset(**load, split=split)
    direct: dict[str, Any] = {name: value for name, value in load.items() if name not in OF_THE_CACHE}
    direct["data_files"] = {split: [escape(file) for file in files] for split, files in load["data_files"].items()}
    try:
        return load_dataset(**direct, split=split, streaming=True)
    except TypeError as error:
        raise ValueError(f"data.corpus.load has a setting that the {load['path']} reader does not: {error}.") from error
    except UNREADABLE as error:
        if str(error).startswith(ABOUT_SPLITS):
            raise
        raise ValueError(_why_unreadable(load, error)) from error


def readable(rows: Iterable[Any], load: Mapping[str, Any]) -> Iterator[Any]:
    """Yield rows that `load_rows` returned; ValueError with the file, and the line if known, if one cannot be read."""
    try:
        yield from rows
    except LookupError as error:
        raise ValueError(f"data.corpus.load.encoding={load.get('encoding')} cannot be used: {error}.") from error
    except UNREADABLE as error:
        if not is_local(load):
            raise
        raise ValueError(_why_unreadable(load, error)) from error


def placed(rows: Any, load: Mapping[str, Any], split: str, folder: Path) -> Iterator[tuple[str | None, Any]]:
    """Yield rows of a split with the place of each: its file, and its row there unless the file is one document.

    Files are named by their paths inside `folder`, or, if it is no folder, inside the deepest that holds all of them.
    The place is None where rows are those of no local file.
    """
    files = load["data_files"][split] if is_local(load) else []
    if not files or getattr(rows, "num_shards", None) != len(files):
        yield from ((None, row) for row in readable(rows, load))
        return
    folders = [os.path.dirname(os.path.abspath(file)) for file in file_names(load["data_files"])]
    root = folder.absolute() if folder.is_dir() else os.path.commonpath(folders)
    whole = load["path"] == "text" and load.get("sample_by") == "document"
    for index, file in enumerate(files):
        name = Path(os.path.relpath(os.path.abspath(file), root)).as_posix()
        of_file = rows.shard(num_shards=len(files), index=index, contiguous=True)
        yield from ((name if whole else f"{name}/{row}", found) for row, found in enumerate(readable(of_file, load)))


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file, maybe compressed, that are not blank, with their numbers from 1; see `lines_in`."""
    with fsspec.open(str(path), "rb", compression="infer") as file:
        yield from lines_in(file, str(path))  # pyright: ignore[reportArgumentType]


def lines_in(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of an open file that are not blank, with their numbers from 1.

    Args:
        file: Open file.
        name: Its name, for messages.

    Raises:
        ValueError: If one is not UTF-8; the message names the file and the line.
    """
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            encoding = "UTF-16" if number == 1 and line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "LATIN1"
            raise ValueError(
                f"{name}, line {number}: the byte 0x{line[error.start]:02x} is not UTF-8. Convert the file, such "
                f"as by `iconv -f {encoding} -t UTF-8`, or remove the line."
            ) from error
        if text.strip():
            yield number, text.rstrip("\n")


def json_object(line: str, place: str) -> dict[str, Any]:
    """Return the JSON object in a line; ValueError if it is none."""
    try:
        row = json.loads(line, parse_int=_whole)
    except (ValueError, RecursionError) as error:  # no JSON, a number of too many digits, or too deeply nested
        raise ValueError(f"{place}: needed a JSON object, found {line[:60]!r} ({error}).") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: needed a JSON object, found {line[:60]!r}.")
    return row


def _whole(digits: str) -> int:
    """Return a whole number; ValueError if it has more than 64 bits, which the readers of `datasets` refuse."""
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError("a whole number of more than 64 bits")
    return number


def _why_unreadable(load: Mapping[str, Any], error: Exception) -> str:
    """Return what is wrong with the first local file that cannot be read, or else what its reader said."""
    files = [Path(name) for name in file_names(load["data_files"])]
    for file in files if load["path"] != "parquet" and load.get("encoding") in UTF8 else ():
        try:
            for number, line in lines_of(file):
                if ".jsonl" in file.suffixes:
                    json_object(line, f"{file}, line {number}")
        except UNREADABLE as found:
            return str(found) if str(file) in str(found) else f"{file} is damaged: {found}. Write it again."
    broken = [file for file in files if load["path"] == "parquet" and not _ends_as_parquet(file)] or files
    return f"{', '.join(map(str, broken[:5]))} cannot be read: {error.__cause__ or error}. Correct the file."


def _ends_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4, 0))
        return file.read() == b"PAR1"
