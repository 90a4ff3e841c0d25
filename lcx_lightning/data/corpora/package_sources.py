"""The source code of an installed package in one version: the same text for everybody, without a download."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lcx_lightning.data.corpora.base import Corpus, Document, HashSplit
from lcx_lightning.data.corpora.python_files import python_documents
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Share


class PackageSources(Corpus):
    """The .py files of a package, each a document that is named by its path inside the package.

    Args:
        package: Name of the package, which is also that of its folder, there with underscores.
        version: Version whose text the numbers are of. None takes whatever is installed.
        text: First 16 hexadecimal digits of the SHA-256 of that text, because installed files may have been changed.
            None does not check them.
        excluded: Names of folders and files that are left out.
        validation_share: Expected share of the files in the validation split, 0 to 1.
        test_share: Expected share of the files in the test split, 0 to 1.
        seed: Seed of the hash that assigns files to splits.

    Raises:
        ValueError: Later, if the package is missing, or is another version or another text than was asked for.
    """

    @checked
    def __init__(
        self,
        *,
        package: str,
        version: str | None,
        text: str | None,
        excluded: Sequence[str],
        validation_share: Share,
        test_share: Share,
        seed: int,
    ) -> None:
        self.name, self._version, self._text = package, version, text
        self._excluded = frozenset(excluded)
        self._held_out = HashSplit(validation_share, test_share, seed)

    def read(self) -> dict[str, list[Document]]:
        """Return the files by split, sorted by path."""
        root = self._folder()
        found = python_documents(root, self._excluded)
        if not found:
            raise ValueError(
                f"The corpus needs the .py files of {self.name}, but {root} holds none (is it zipped or compiled?). "
                f"Install it anew, or choose another corpus."
            )
        if self._text not in (None, text := text_hash(found)):
            raise ValueError(
                f"The files of {self.name} in {root} are not those of its release: their text has the hash {text}, and "
                f"{self._text} was expected. Numbers on the two cannot be compared. Install it anew (pip install "
                f"--force-reinstall {self._wanted()}), or take what is there with data.corpus.text=null."
            )
        return self._held_out.partition(found)

    def _wanted(self) -> str:
        return self.name if self._version is None else f"{self.name}=={self._version}"

    def _folder(self) -> Path:
        """Return the folder of the package, in the version that was asked for."""
        try:
            installed = distribution(self.name)
        except PackageNotFoundError as error:
            raise ValueError(
                f"The corpus is the source code of {self.name}, which is not installed: pip install {self._wanted()}."
            ) from error
        if self._version not in (None, installed.version):
            raise ValueError(
                f"The corpus is the source code of {self.name} {self._version}, and {self.name} {installed.version} is "
                f"installed: numbers on the two cannot be compared. pip install {self._wanted()}, or take what is "
                "there with data.corpus.version=null data.corpus.text=null."
            )
        return Path(str(installed.locate_file(self.name.replace("-", "_"))))


def text_hash(documents: Iterable[Document]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of documents, their names and texts."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.name}\0{document.text}\0".encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()[:16]
