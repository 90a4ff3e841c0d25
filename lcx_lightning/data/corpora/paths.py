"""Paths of documents: local files and folders, or a dataset of the Hugging Face hub."""

from collections.abc import Mapping
from glob import glob
from pathlib import Path
from typing import Any

READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}  # suffix -> reader of datasets
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")  # suffixes that follow that of the compressed file


def resolve(load: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load_dataset` for `load`; local files are given by reader and full list.

    A path with a suffix of READERS is a local file, or a pattern for several (`books/*.jsonl`). The path of a local
    folder is that folder. With the path `json`, `parquet`, `text` or `csv`, the files are those in data_files. Any
    other path is a dataset of the hub. A .txt file is one document, unless `sample_by` says otherwise.

    Raises:
        ValueError: If a file or folder does not exist, or a file is empty.
    """
    path, files = str(load["path"]), load.get("data_files")
    if path in {*READERS.values(), "csv"}:
        for name in file_names(files):
            if "://" not in name:
                _matching_files(name)
        return dict(load)
    if reader_of(path):
        kept = {name: value for name, value in load.items() if name not in ("path", "name", "revision", "data_files")}
        by_document = _by_document(reader_of(path) == "text")
        return by_document | kept | {"path": reader_of(path), "data_files": _matching_files(path)}
    folder = Path(path).expanduser()
    if folder.is_dir():
        held = [file for file in sorted(folder.rglob("*")) if file.is_file() and reader_of(file.name)]
        if not held:
            raise ValueError(f"The folder {folder} must hold {_kinds()} files, and has none. Choose another folder.")
        _refuse_empty(held)
        by_document = _by_document(all(reader_of(file.name) == "text" for file in held) and files is None)
        return by_document | dict(load) | {"path": str(folder)}
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ValueError(f"There is no folder {folder}. Give a folder, {_kinds()} files, or a dataset of the hub.")
    return dict(load)


def reader_of(name: str) -> str | None:
    """Return the name of the reader of `datasets` for a file, or None if its suffix is not in READERS."""
    suffixes = [suffix for suffix in Path(name).suffixes[-2:] if suffix not in COMPRESSED]
    return READERS.get(suffixes[-1].lower()) if suffixes else None


def is_local(load: Mapping[str, Any]) -> bool:
    """Return whether the arguments, as returned by `resolve`, name local files only."""
    names = file_names(load.get("data_files"))
    if load["path"] in {*READERS.values(), "csv"}:
        return not any("://" in name for name in names)
    return Path(load["path"]).is_dir()


def without_network(repository: str, local: str, revision: str | None = None) -> str:
    """Return instructions for reading a dataset of the hub from a folder; `local` is the setting for that folder."""
    option = f" --revision {revision}" if revision else ""
    command = f"hf download {repository}{option} --repo-type dataset --local-dir DIR"
    return f"Without a network: run `{command}` where there is one, copy the folder to this machine, and add {local}."


def _by_document(text: bool) -> dict[str, Any]:
    return {"sample_by": "document"} if text else {}


def file_names(files: Any) -> list[str]:
    """Return the file names in `data_files`, which is a name, a list of names, or a mapping from split to either."""
    if files is None:
        return []
    if isinstance(files, Mapping):
        return [name for value in files.values() for name in file_names(value)]
    return [str(files)] if isinstance(files, str | Path) else [str(name) for name in files]


def _matching_files(pattern: str) -> list[str]:
    """Return the files that match a pattern, sorted."""
    found = sorted(Path(name) for name in glob(str(Path(pattern).expanduser()), recursive=True))
    if not found:
        raise ValueError(f"There is no file {pattern} (seen from {Path.cwd()}). Correct the path of the data.")
    _refuse_empty(found)
    return [str(file) for file in found]


def _refuse_empty(files: list[Path]) -> None:
    empty = [file for file in files if file.is_file() and not file.stat().st_size]
    if empty:
        raise ValueError(
            f"A data file must hold text, but {len(empty)} of {len(files)} are empty: "
            f"{', '.join(map(str, empty[:5]))}. Download or write them again, or remove them."
        )


def _kinds() -> str:
    return ", ".join(READERS)
