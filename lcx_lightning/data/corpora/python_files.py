"""Python source files under a folder, each a document."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from lcx_lightning.data.corpora.base import Document

INDENT = re.compile(r"^(?: {4})+", re.MULTILINE)


def python_documents(root: Path, excluded: Collection[str]) -> list[Document]:
    """Return the .py files under `root`, each named by its path below it, sorted by name.

    Every four spaces at the start of a line become a tab, so that a context holds more code.

    Args:
        root: Folder to search.
        excluded: Names of folders and files that are left out.
    """
    paths = sorted((path.relative_to(root).as_posix(), path) for path in _sources(root, excluded))
    return [Document(name, _dense(path)) for name, path in paths]


def _sources(folder: Path, excluded: Collection[str]) -> Iterator[Path]:
    """Yield the .py files under `folder` that are not excluded."""
    for entry in folder.iterdir():
        if entry.name in excluded:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _sources(entry, excluded)
        elif entry.suffix == ".py" and entry.is_file():
            yield entry


def _dense(path: Path) -> str:
    """Return the text of a file with a tab for every four leading spaces."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return INDENT.sub(lambda indent: "\t" * (len(indent[0]) // 4), text)
