"""Where documents are read from: files and folders of this machine, or a dataset of the Hugging Face hub."""

from collections.abc import Mapping
from glob import glob
from pathlib import Path
from typing import Any

READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}  # by suffix: datasets' readers
PACKED = (".gz", ".zst", ".xz", ".bz2")  # suffixes behind which stands that of what was compressed


def located(load: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load_dataset` for what `load` names, local files by reader and full list.

    A path with a suffix of READERS is a file of this machine, or a pattern of several (`books/*.jsonl`); one that is a
    folder, a folder; with `json`, `parquet` or `text` as path the files are named in data_files; anything else is on
    the hub. A .txt file is one document, unless `sample_by` says otherwise.

    Raises:
        ValueError: If there is no such file or folder, or a file is empty.
    """
    path, files = str(load["path"]), load.get("data_files")
    if path in {*READERS.values(), "csv"}:
        for name in file_names(files):
            if "://" not in name:
                _found(name)
        return dict(load)
    if reader_of(path):
        kept = {name: value for name, value in load.items() if name not in ("path", "name", "revision", "data_files")}
        return _by_document(reader_of(path) == "text") | kept | {"path": reader_of(path), "data_files": _found(path)}
    folder = Path(path).expanduser()
    if folder.is_dir():
        held = [file for file in sorted(folder.rglob("*")) if file.is_file() and reader_of(file.name)]
        if not held:
            raise ValueError(f"The folder {folder} needs to hold {_kinds()} files; it has none. Choose another folder.")
        _refuse_empty(held)
        by_document = _by_document(all(reader_of(file.name) == "text" for file in held) and files is None)
        return by_document | dict(load) | {"path": str(folder)}
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ValueError(f"There is no folder {folder}. Give a folder, {_kinds()} files, or a dataset of the hub.")
    return dict(load)


def reader_of(name: str) -> str | None:
    """Return the name of datasets' reader for a file, None if it has no suffix of READERS."""
    suffixes = [suffix for suffix in Path(name).suffixes[-2:] if suffix not in PACKED]
    return READERS.get(suffixes[-1].lower()) if suffixes else None


def is_local(load: Mapping[str, Any]) -> bool:
    """Return whether `located` arguments name files of this machine alone."""
    names = file_names(load.get("data_files"))
    if load["path"] in {*READERS.values(), "csv"}:
        return not any("://" in name for name in names)
    return Path(load["path"]).is_dir()


def without_network(repository: str, local: str, revision: str | None = None) -> str:
    """Return what to put where, so that a dataset of the hub is read from a folder: `local` says how."""
    of = f" --revision {revision}" if revision else ""
    command = f"hf download {repository}{of} --repo-type dataset --local-dir DIR"
    return f"Without a network: where there is one, run `{command}`, bring that folder here, and add {local}."


def _by_document(text: bool) -> dict[str, Any]:
    return {"sample_by": "document"} if text else {}


def file_names(files: Any) -> list[str]:
    """Return the file names in what `data_files` may be: a name, a list of names, or either by split."""
    if files is None:
        return []
    if isinstance(files, Mapping):
        return [name for value in files.values() for name in file_names(value)]
    return [str(files)] if isinstance(files, str | Path) else [str(name) for name in files]


def _found(pattern: str) -> list[str]:
    """Return the files that a pattern names, sorted."""
    found = sorted(Path(name) for name in glob(str(Path(pattern).expanduser()), recursive=True))
    if not found:
        raise ValueError(f"There is no file {pattern} (from the folder {Path.cwd()}). Correct the path of the data.")
    _refuse_empty(found)
    return [str(file) for file in found]


def _refuse_empty(files: list[Path]) -> None:
    empty = [file for file in files if file.is_file() and not file.stat().st_size]
    if empty:
        raise ValueError(
            f"A data file needs to hold text; {len(empty)} of {len(files)} are empty: "
            f"{', '.join(map(str, empty[:5]))}. Fetch or write them again, or take them away."
        )


def _kinds() -> str:
    return ", ".join(READERS)
