"""The source code of the running Python's standard library: megabytes of real code without a download."""

import sysconfig
from pathlib import Path

from lcx_lightning.data.corpora.base import Corpus, Document, HashSplit
from lcx_lightning.data.corpora.python_files import python_documents
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Share

# site-packages and dist-packages differ between machines; tests are repetitive, and half of all code.
# encodings and pydoc_data are generated tables and help texts of 2.2 MB, and code pages are so similar that a file in
# the test split would have a near copy in the training split.
EXCLUDED = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "encodings", "pydoc_data"}
)
BUILD = "_sysconfigdata"  # prefix of the settings of the build: generated, and different on every machine


class StandardLibrary(Corpus):
    """The .py files of the standard library, each a document that is named by its path inside the library.

    They differ from one version of Python to the next, and so do numbers on them.

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
        found = [one for one in python_documents(root, EXCLUDED) if not Path(one.name).name.startswith(BUILD)]
        if not found:
            raise ValueError(
                f"The corpus needs the standard library's .py files, but {root} holds none (is its library zipped or "
                "compiled?). Run with another Python, or choose data=sympy or data=hub."
            )
        return self._held_out.partition(found)
