"""Identity of a model: a hash of the files in its folder, or the commit of the hub that a branch names now."""

import hashlib
import json
import os
import re
import socket
from pathlib import Path

from transformers.utils.hub import cached_file, extract_commit_hash

NOT_THE_MODEL = (".md", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".pdf", ".log", ".lock")  # suffixes of files beside it
REMEMBERED = 2**22  # bytes from which the hash of a file is remembered: reading less takes no time


def folder_identity(folder: Path, memory: Path) -> str:
    """Return a hash of the names and contents of the files in a model folder: weights, configuration and tokenizer.

    Args:
        folder: Folder in the format of the Hugging Face hub.
        memory: Folder in which the hashes of large files are remembered, by their path, size and times.
    """
    found = {
        str(path.relative_to(folder)): _hash(path, memory)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix.lower() not in NOT_THE_MODEL and not _is_hidden(path.relative_to(folder))
    }
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def file_identity(path: Path, memory: Path) -> str:
    """Return a hash of the contents of a file; `memory` as in `folder_identity`."""
    return _hash(path, memory)[:16]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def commit_of(name: str, revision: str) -> str | None:
    """Return the commit that a revision of a model on the hub names now, None if the model is a folder."""
    if Path(name).is_dir():
        return None
    return extract_commit_hash(cached_file(name, "config.json", revision=revision), None)


def _hash(path: Path, memory: Path) -> str:
    state = path.stat()
    if state.st_size < REMEMBERED:
        return _hash_of_file(path)
    # the time of the last change of the inode cannot be set, as the one of the contents can (by rsync -t, say)
    known = [str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    entry = memory / hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]
    if entry.is_file() and re.fullmatch("[0-9a-f]{64}", remembered := entry.read_text(errors="replace")):
        return remembered
    found = _hash_of_file(path)
    memory.mkdir(parents=True, exist_ok=True)
    part = entry.with_suffix(f".{socket.gethostname()}.{os.getpid()}")
    part.write_text(found)
    os.replace(part, entry)
    return found


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
