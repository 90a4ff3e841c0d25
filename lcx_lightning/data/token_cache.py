"""A cache of the tokens of a split on disk, read as mapped memory that all processes share."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from jaxtyping import Int, Integer

from lcx_lightning.data.corpora.base import Document
from lcx_lightning.data.tokenizers import Tokens

FORMAT = 4  # increase it when the meaning of the files changes

CHECKSUMS = "sha256"  # name of the file with the checksums of the others


class Encoded(NamedTuple):
    """Documents as tokens, concatenated without separators."""

    names: list[str]  # names of the documents
    lengths: Int[np.ndarray, " documents"]  # lengths of the documents in tokens
    ids: Integer[np.ndarray, " tokens"]  # token ids of all documents


def encode(documents: Iterable[Document], tokens: Tokens) -> Encoded:
    """Return the tokens of the documents, without a cache."""
    dtype = _dtype(tokens)
    found = [(document.name, np.asarray(tokens.encode(document.text), dtype)) for document in documents]
    lengths = np.array([len(ids) for _, ids in found], dtype=np.int64)
    return Encoded([name for name, _ in found], lengths, np.concatenate([np.empty(0, dtype), *(i for _, i in found)]))


def encode_cached(folder: Path, identity: str, documents: Callable[[], Iterable[Document]], tokens: Tokens) -> Encoded:
    """Return the tokens of documents from the cache, after writing them there if they are missing.

    An entry is written atomically, with its key and checksums, which are verified when it is read: a damaged one, or
    that of other documents in its place, is made again, with a warning. Of several processes one tokenises, and the
    others wait for it.

    Args:
        folder: Folder of the cache.
        identity: Text that changes with the names, texts and order of the documents; part of the key.
        documents: Function that returns the documents; not called if their tokens are in the cache.
        tokens: Tokenizer; its identity is part of the key.

    Raises:
        ValueError: If the folder cannot be written to.
    """
    text = json.dumps([FORMAT, identity, tokens.identity()])
    entry = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        if _is_sound(entry, text):
            return _mapped(entry)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_suffix(".lock")):
            if not _is_sound(entry, text):
                _discard_damaged(entry)
                work = entry.with_suffix(".work")
                _remove(work)  # left by a process that was killed
                work.mkdir()
                _write(work, text, documents(), tokens)
                os.replace(work, entry)
    except (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise ValueError(
            f"cache_dir must be a folder that can be written, but {folder} cannot ({error}): choose another."
        ) from error
    return _mapped(entry)


def _is_sound(entry: Path, key: str) -> bool:
    """Return whether an entry is there, its files are those that were written, and they were written for this key."""
    try:
        whole = (entry / CHECKSUMS).read_bytes() == _checksums(entry).encode()
        return whole and json.loads((entry / "documents.json").read_text()).get("key") == key
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _checksums(entry: Path) -> str:
    """Return the SHA-256 of each file of an entry; some 2 GB per second."""
    lines = []
    for name in ("ids", "documents.json"):
        with (entry / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _discard_damaged(entry: Path) -> None:
    """Remove an entry that is not sound; a process that has mapped its files keeps them."""
    if os.path.lexists(entry):
        warnings.warn(
            f"The cached tokens in {entry} are damaged: their checksums or key differ. They are made again. "
            "If that happens again, check the disk.",
            stacklevel=3,
        )
        _remove(entry)


def _remove(path: Path) -> None:
    """Remove a folder, a file or a link, if it is there; what a link names stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(folder: Path, key: str, documents: Iterable[Document], tokens: Tokens) -> None:
    """Write tokens, lengths, names and the key, with one document in memory at a time."""
    names, lengths, dtype = [], [], _dtype(tokens)
    with (folder / "ids").open("wb") as file:
        for document in documents:
            ids = np.asarray(tokens.encode(document.text), dtype)
            file.write(ids.tobytes())
            names.append(document.name)
            lengths.append(len(ids))
    about = {"key": key, "dtype": dtype.name, "names": names, "lengths": lengths}
    (folder / "documents.json").write_text(json.dumps(about))
    (folder / CHECKSUMS).write_text(_checksums(folder))


def _mapped(folder: Path) -> Encoded:
    stored = json.loads((folder / "documents.json").read_text())
    lengths, dtype = np.array(stored["lengths"], dtype=np.int64), np.dtype(stored["dtype"])
    size = int(lengths.sum())
    ids = np.memmap(folder / "ids", dtype, mode="r", shape=(size,)) if size else np.empty(0, dtype)
    return Encoded(stored["names"], lengths, ids)


def _dtype(tokens: Tokens) -> np.dtype:
    """Return the smallest data type that holds every id."""
    return np.dtype(np.uint16 if tokens.vocab_size <= 2**16 else np.int32)
