"""The source of the running Python's standard library: megabytes of real code on every machine, without a download."""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lcx_lightning.data.corpora.base import Corpus, Document, HashSplit

# site-packages and dist-packages differ from machine to machine; tests are repetitive, and half of the whole.
# encodings and pydoc_data are tables and help texts written by programs: 2.2 MB, and neighbouring code pages are so
# alike that a test file would have its twin in the training split.
EXCLUDED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "encodings", "pydoc_data"}
)
EXCLUDED_PREFIX = "_sysconfigdata"  # the build's settings as one dictionary: generated, and another on every machine
INDENT = re.compile(r"^(?: {4})+", re.MULTILINE)


class StandardLibrary(Corpus):
    """Every .py file of the standard library is a document, named by its path inside the library.

    Each run of four spaces at the start of a line becomes a tab, so that a context of so many bytes holds more code.

    Args:
        validation_share: Expected share of the files that go to validation, 0 to 1.
        test_share: Expected share that goes to test.
        seed: Of the hash of the path that splits the files.
    """

    name = "stdlib"

    def __init__(self, validation_share: float, test_share: float, seed: int) -> None:
        self._held_out = HashSplit(validation_share, test_share, seed)

    def read(self) -> dict[str, list[Document]]:
        """Return the files by split, sorted by path."""
        root = Path(sysconfig.get_path("stdlib"))
        paths = sorted((path.relative_to(root).as_posix(), path) for path in _sources(root))
        if not paths:
            raise ValueError(
                f"The standard library's .py files are needed as a corpus; {root} holds none (a Python with a zipped "
                "or compiled library?). Run with another Python, or choose data=hub."
            )
        return self._held_out.partition([Document(name, _dense(path)) for name, path in paths])


def _sources(folder: Path) -> Iterator[Path]:
    """Yield the .py files under `folder` that count as the library's own source."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in EXCLUDED_FOLDERS:
            yield from _sources(entry)
        elif entry.suffix == ".py" and not entry.name.startswith(EXCLUDED_PREFIX) and entry.is_file():
            yield entry


def _dense(path: Path) -> str:
    """Return the text of the file with tabs for leading groups of four spaces."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return INDENT.sub(lambda indent: "\t" * (len(indent[0]) // 4), text)
