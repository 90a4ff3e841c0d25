"""A cache of the tokens of a split on disk, read as mapped memory that all processes share."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from jaxtyping import Int, Integer

from lcx_lightning.data.corpora.base import Document
from lcx_lightning.data.tokenizers import Tokens

FORMAT = 1  # increase it when the meaning of the files changes


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

    An entry is written atomically. Of several processes one tokenises, and the others wait for it.

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
    if entry.exists():
        return _mapped(entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_suffix(".lock")):
            if not entry.exists():
                work = entry.with_suffix(".work")
                shutil.rmtree(work, ignore_errors=True)  # left by a process that was killed
                work.mkdir()
                _write(work, documents(), tokens)
                os.replace(work, entry)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise ValueError(
            f"cache_dir must be a folder that can be written, but {folder} cannot: choose another."
        ) from error
    return _mapped(entry)


def _write(folder: Path, documents: Iterable[Document], tokens: Tokens) -> None:
    """Write tokens, lengths and names, with one document in memory at a time."""
    names, lengths, dtype = [], [], _dtype(tokens)
    with (folder / "ids").open("wb") as file:
        for document in documents:
            ids = np.asarray(tokens.encode(document.text), dtype)
            file.write(ids.tobytes())
            names.append(document.name)
            lengths.append(len(ids))
    (folder / "documents.json").write_text(json.dumps({"dtype": dtype.name, "names": names, "lengths": lengths}))


def _mapped(folder: Path) -> Encoded:
    stored = json.loads((folder / "documents.json").read_text())
    lengths, dtype = np.array(stored["lengths"], dtype=np.int64), np.dtype(stored["dtype"])
    size = int(lengths.sum())
    ids = np.memmap(folder / "ids", dtype, mode="r", shape=(size,)) if size else np.empty(0, dtype)
    return Encoded(stored["names"], lengths, ids)


def _dtype(tokens: Tokens) -> np.dtype:
    """Return the smallest data type that holds every id."""
    return np.dtype(np.uint16 if tokens.vocab_size <= 2**16 else np.int32)
