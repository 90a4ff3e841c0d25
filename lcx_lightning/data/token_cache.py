"""The tokens of a split, made once and kept on disk: read as mapped memory, shared by all processes."""

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

FORMAT = 1  # raise it when files of a later version would mean something else


class Encoded(NamedTuple):
    """Documents as tokens, laid end to end without separators."""

    names: list[str]
    lengths: Int[np.ndarray, " documents"]  # tokens
    ids: Integer[np.ndarray, " tokens"]


def encode(documents: Iterable[Document], tokens: Tokens) -> Encoded:
    """Return the tokens of the documents, in memory."""
    dtype = _dtype(tokens)
    found = [(document.name, np.asarray(tokens.encode(document.text), dtype)) for document in documents]
    lengths = np.array([len(ids) for _, ids in found], dtype=np.int64)
    return Encoded([name for name, _ in found], lengths, np.concatenate([np.empty(0, dtype), *(i for _, i in found)]))


def encoded_once(folder: Path, identity: str, documents: Callable[[], Iterable[Document]], tokens: Tokens) -> Encoded:
    """Return the tokens of documents from `folder`, where they are put now if they are not there yet.

    They are there whole or not at all. Of several processes one tokenises, and the others wait for it.

    Args:
        folder: Of all that is kept.
        identity: Changes with names, texts and order of the documents.
        documents: Returns the documents; not called if they are kept.
        tokens: The tokenizer; its identity is part of the key.

    Raises:
        ValueError: If the folder cannot be written.
    """
    text = json.dumps([FORMAT, identity, tokens.identity()])
    place = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
    if place.exists():
        return _mapped(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if not place.exists():
                work = place.with_suffix(".work")
                shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
                work.mkdir()
                _write(work, documents(), tokens)
                os.replace(work, place)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise ValueError(
            f"cache_dir must be a folder that can be written, but {folder} cannot: choose another."
        ) from error
    return _mapped(place)


def _write(folder: Path, documents: Iterable[Document], tokens: Tokens) -> None:
    """Write tokens, lengths and names, one document in memory at a time."""
    names, lengths, dtype = [], [], _dtype(tokens)
    with (folder / "ids").open("wb") as file:
        for document in documents:
            ids = np.asarray(tokens.encode(document.text), dtype)
            file.write(ids.tobytes())
            names.append(document.name)
            lengths.append(len(ids))
    (folder / "documents.json").write_text(json.dumps({"dtype": dtype.name, "names": names, "lengths": lengths}))


def _mapped(folder: Path) -> Encoded:
    told = json.loads((folder / "documents.json").read_text())
    lengths, dtype = np.array(told["lengths"], dtype=np.int64), np.dtype(told["dtype"])
    size = int(lengths.sum())
    ids = np.memmap(folder / "ids", dtype, mode="r", shape=(size,)) if size else np.empty(0, dtype)
    return Encoded(told["names"], lengths, ids)


def _dtype(tokens: Tokens) -> np.dtype:
    """Return the narrowest type that holds every id."""
    return np.dtype(np.uint16 if tokens.vocab_size <= 2**16 else np.int32)
