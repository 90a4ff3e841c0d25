"""Paths of documents: an exact list of local files, or a dataset of the Hugging Face hub."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from datasets import load_dataset_builder
from huggingface_hub import metadata_load
from yaml import YAMLError

READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}  # of datasets
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")  # suffixes that follow that of the compressed file
ABOUT_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json")  # of the hub; no documents
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}

DOCUMENT = {"sample_by": "document", "encoding": "utf-8-sig"}  # a text file is one document, without its BOM
CHOOSE_FILES = (
    "config_name",
    "data_files",
    "data_dir",
    "default",
    "version",
    "description",
)  # of `configs` in README.md

Files = dict[str, list[str]]  # split -> files


def resolve(load: Mapping[str, Any], splits: Iterable[str] = ()) -> dict[str, Any]:
    """Return the arguments of `load_dataset` for `load`; local files are given by reader and full list.

    The path is a local folder, file or pattern for files (`books/*.jsonl`), or else a dataset of the hub. With the path
    `json`, `parquet`, `csv` or `text`, the files are those in data_files, of any suffix. A text file is one document,
    unless `sample_by` says otherwise.

    Of a folder, all files with a suffix of READERS are read, also in folders inside it, except hidden ones and those
    that describe a dataset of the hub (ABOUT_DATA); or those of `data_files`; or those that its README.md names in
    `configs`, as on the hub, with the settings of their reader there. If every file names a split, these are the
    splits: by its own name, with maybe numbers behind it (`train.jsonl`, `test-00000-of-00002.parquet`), or by that of
    a folder (`train/0.parquet`). A name of a split is one of `splits` or SPLIT_WORDS. Otherwise all files together are
    the split `train`, as those of a pattern.

    Args:
        load: Arguments of `load_dataset`.
        splits: Names of the splits that will be read.

    Raises:
        ValueError: If a file or folder does not exist, a file is empty or given twice, or there are several kinds.
    """
    path, files = str(load["path"]), load.get("data_files")
    if path in READERS.values():
        if files is None:
            raise ValueError(
                f"path={path} reads the files in data_files, which is null: name them, or give their path."
            )
        return (DOCUMENT if path == "text" else {}) | dict(load) | {"data_files": _checked(_given(files, Path()))}
    place, options = Path(path).expanduser(), {}
    if place.is_dir():
        by_split, options = _in_folder(place, load, splits)
    elif place.is_file() or has_magic(path) or reader_of(path):
        _refuse_set(load, "data_files", "name")
        by_split = {"train": _matching_files(path)}
    elif path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ValueError(f"There is no folder {place}. Give a folder, {_kinds()} files, or a dataset of the hub.")
    else:
        return dict(load)
    _refuse_set(load, "revision")
    reader = _one_reader([file for found in by_split.values() for file in found], path)
    kept = {name: value for name, value in load.items() if name not in ("path", "name", "revision", "data_files")}
    return (DOCUMENT if reader == "text" else {}) | options | kept | {"path": reader, "data_files": _checked(by_split)}


def reader_of(name: str) -> str | None:
    """Return the name of the reader of `datasets` for a file, or None if its suffix is not in READERS."""
    return READERS.get(_suffix(name))


def is_local(load: Mapping[str, Any]) -> bool:
    """Return whether the arguments, as returned by `resolve`, name local files only."""
    names = file_names(load.get("data_files"))
    return load["path"] in READERS.values() and not any("://" in name for name in names)


def without_network(repository: str, local: str, revision: str | None = None) -> str:
    """Return instructions for reading a dataset of the hub from a folder; `local` is the setting for that folder."""
    option = f" --revision {revision}" if revision else ""
    command = f"hf download {repository}{option} --repo-type dataset --local-dir DIR"
    return f"Without a network: run `{command}` where there is one, copy the folder to this machine, and add {local}."


def file_names(files: Any) -> list[str]:
    """Return the file names in `data_files`, which is a name, a list of names, or a mapping from split to either."""
    if files is None:
        return []
    if isinstance(files, Mapping):
        return [name for value in files.values() for name in file_names(value)]
    return [str(files)] if isinstance(files, str | Path) else [str(name) for name in files]


def _in_folder(folder: Path, load: Mapping[str, Any], splits: Iterable[str]) -> tuple[Files, dict[str, Any]]:
    """Return the files of a folder by split, and settings of their reader that its README.md names."""
    if load.get("data_files") is not None:
        _refuse_set(load, "name")
        return _given(load["data_files"], folder), {}
    if _names_configs(folder):
        return _of_config(folder, load.get("name"))
    if load.get("name") and (folder / load["name"]).is_dir():
        folder = folder / load["name"]
    else:
        _refuse_set(load, "name")
    inside = sorted(_files_below(folder, tuple(folder.resolve().parents)))
    files = [file for file in inside if reader_of(file.name) and file.name not in ABOUT_DATA]
    if not files:
        raise ValueError(f"The folder {folder} must hold {_kinds()} files, and has none. Choose another folder.")
    named = [_split_of(file.relative_to(folder), splits) for file in files]
    by_split: Files = {}
    for file, split in zip(files, named, strict=True):
        by_split.setdefault(split if all(named) and split else "train", []).append(str(file))
    return by_split, {}


def _files_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files in a folder and those inside it, except hidden ones; a link to one of those above is left out."""
    real = folder.resolve()
    for entry in folder.iterdir() if real not in above else ():
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _files_below(entry, (*above, real))
        elif entry.is_file() and not entry.name.startswith("."):
            yield entry


def _names_configs(folder: Path) -> bool:
    """Return whether the README.md of a folder says, as on the hub, which files it has for what."""
    about = folder / "README.md"
    try:
        return about.is_file() and "configs" in (metadata_load(about) or {})
    except (ValueError, YAMLError):  # its first lines are no such metadata
        return False


def _of_config(folder: Path, name: str | None) -> tuple[Files, dict[str, Any]]:
    """Return the files by split, and the settings of their reader, of a configuration in the README.md of a folder."""
    try:
        config: Any = load_dataset_builder(str(folder), name).config
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{folder / 'README.md'} has no such files: {error} Set load.name, or correct it.") from error
    said = (metadata_load(folder / "README.md") or {})["configs"] or []
    chosen = next((one for one in said if one.get("config_name", "default") == config.name), {})
    options = {key: value for key, value in chosen.items() if key not in CHOOSE_FILES}
    return {str(split): list(files) for split, files in config.data_files.items()}, options


def _split_of(file: Path, splits: Iterable[str]) -> str | None:
    """Return the split that a file inside a folder names by its name or that of a folder, or None."""
    words = {word: split for split, words in SPLIT_WORDS.items() for word in words} | {name: name for name in splits}
    split = re.compile(rf"({'|'.join(map(re.escape, words))})([-_.](\d+|of|[0-9a-f]{{16}}))*")
    name = Path(file.stem if _is_compressed(file.name) else file.name).stem
    for part in (name, *reversed(file.parent.parts)):
        if found := split.fullmatch(part):
            return words[found[1]]
    return None


def _given(files: Any, folder: Path) -> Files:
    """Return the files in `data_files` by split, relative ones inside a folder; names of other machines as they are."""
    by_split = files if isinstance(files, Mapping) else {"train": files}
    return {
        str(split): [
            one
            for name in file_names(names)
            for one in ([name] if "://" in name else _matching_files(str(folder / Path(name).expanduser())))
        ]
        for split, names in by_split.items()
    }


def _matching_files(pattern: str) -> list[str]:
    """Return the file of that name, or the files that match a pattern, sorted."""
    named = Path(pattern).expanduser()
    matches = [named] if named.is_file() else map(Path, glob(str(named), recursive=True))
    found = sorted(file for file in matches if file.is_file())
    if not found:
        raise ValueError(f"There is no file {pattern} (seen from {Path.cwd()}). Correct the path of the data.")
    return [str(file) for file in found]


def _checked(by_split: Files) -> Files:
    """Return files by split, each once; ValueError if one is empty, given twice, or of a name that cannot be read."""
    whole = [file for files in by_split.values() for file in dict.fromkeys(files)]
    local = [file for file in whole if "://" not in file]
    twice = [file for file in whole if whole.count(file) > 1] if len(whole) > len(set(whole)) else []
    if twice:
        raise ValueError(f"A file must not be in two splits, but {twice[0]} is: name each file in one split only.")
    chained = [file for file in local if "::" in file]
    if chained:
        raise ValueError(f"The library datasets reads '::' in a name as an archive: rename {chained[0]}.")
    _refuse_copies(local)
    empty = [file for file in local if not Path(file).stat().st_size]
    if empty:
        raise ValueError(
            f"A data file must hold text, but {len(empty)} of {len(local)} are empty: {', '.join(empty[:5])}. Download "
            "or write them again, or remove them."
        )
    return {split: list(dict.fromkeys(files)) for split, files in by_split.items()}


def _refuse_copies(files: Sequence[str]) -> None:
    """Raise a ValueError if two names are those of one file, or of a file and its compressed copy."""
    known: dict[Any, str] = {}
    for file in files:
        stat, path = os.stat(file), Path(file)
        uncompressed = path.parent.resolve() / (path.stem if _is_compressed(file) else path.name)
        for key in ((stat.st_dev, stat.st_ino), uncompressed):
            if (other := known.setdefault(key, file)) != file:
                raise ValueError(
                    f"A document must not be read twice, but {other} and {file} are the same file, or one is "
                    "compressed and the other not: remove one, or choose files by a pattern."
                )


def _one_reader(files: Sequence[str], path: str) -> str:
    """Return the reader of files; ValueError if they are of several kinds, or of one that cannot be read."""
    kinds: dict[str, list[str]] = {}
    for file in files:
        kinds.setdefault(_suffix(file), []).append(Path(file).name)
    if len(kinds) > 1:
        held = ", ".join(f"{len(some)} {kind or 'without suffix'} ({some[0]})" for kind, some in sorted(kinds.items()))
        raise ValueError(
            f"Files of one kind are read together, but {path} holds {held}. Choose one kind by a pattern, such "
            f"as 'DIR/**/*{min(kinds, key=lambda kind: -len(kinds[kind]))}', or move the others elsewhere."
        )
    (kind,) = kinds
    if kind not in READERS:
        raise ValueError(f"Only {_kinds()} files can be read; {files[0]} is none. Convert it, or correct its suffix.")
    return READERS[kind]


def _refuse_set(load: Mapping[str, Any], *names: str) -> None:
    given = [name for name in names if load.get(name) is not None]
    if given:
        raise ValueError(
            f"The local path {load['path']} says which files are read, and {given[0]}={load[given[0]]} would change "
            f"nothing: set {given[0]}=null."
        )


def _suffix(name: str) -> str:
    """Return the suffix of a file in lower case, leaving out that of a compression."""
    return Path(Path(name).stem if _is_compressed(name) else name).suffix.lower()


def _is_compressed(name: str) -> bool:
    return Path(name).suffix.lower() in COMPRESSED


def _kinds() -> str:
    return ", ".join(READERS)
