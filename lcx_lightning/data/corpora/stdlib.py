"""The source code of the running Python's standard library: megabytes of real code without a download."""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lcx_lightning.data.corpora.base import Corpus, Document, HashSplit
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Share

# site-packages and dist-packages differ between machines; tests are repetitive, and half of all code.
# encodings and pydoc_data are generated tables and help texts of 2.2 MB, and code pages are so similar that a file in
# the test split would have a near copy in the training split.
EXCLUDED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "encodings", "pydoc_data"}
)
EXCLUDED_PREFIX = "_sysconfigdata"  # the settings of the build: generated, and different on every machine
INDENT = re.compile(r"^(?: {4})+", re.MULTILINE)


class StandardLibrary(Corpus):
    """The .py files of the standard library, each a document that is named by its path inside the library.

    Every four spaces at the start of a line become a tab, so that a context in bytes holds more code.

    Args:
        validation_share: Expected share of the files in the validation split, 0 to 1.
        test_share: Expected share of the files in the test split, 0 to 1.
        seed: Seed of the hash that assigns files to splits.
    """

    name = "stdlib"

    @checked
    def __init__(self, *, validation_share: Share, test_share: Share, seed: int) -> None:
        self._held_out = HashSplit(validation_share, test_share, seed)

    def read(self) -> dict[str, list[Document]]:
        """Return the files by split, sorted by path."""
        root = Path(sysconfig.get_path("stdlib"))
        paths = sorted((path.relative_to(root).as_posix(), path) for path in _sources(root))
        if not paths:
            raise ValueError(
                f"The corpus needs the standard library's .py files, but {root} holds none (is its library zipped or "
                "compiled?). Run with another Python, or choose data=hub."
            )
        return self._held_out.partition([Document(name, _dense(path)) for name, path in paths])


def _sources(folder: Path) -> Iterator[Path]:
    """Yield the .py files under `folder` that are not excluded."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in EXCLUDED_FOLDERS:
            yield from _sources(entry)
        elif entry.suffix == ".py" and not entry.name.startswith(EXCLUDED_PREFIX) and entry.is_file():
            yield entry


def _dense(path: Path) -> str:
    """Return the text of a file with a tab for every four leading spaces."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return INDENT.sub(lambda indent: "\t" * (len(indent[0]) // 4), text)
