"""A corpus: named text documents in three splits that share no document."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from lcx_lightning.schema.checked import check_fields
from lcx_lightning.schema.kinds import Share

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Document:
    """One text of a corpus."""

    name: str  # name in records
    text: str


@dataclass(frozen=True)
class HashSplit:
    """Splits of documents by a seeded hash of their names, so that adding a document does not move any other.

    Args:
        validation_share: Expected share of the documents in the validation split, 0 to 1.
        test_share: Expected share of the documents in the test split, 0 to 1.
        seed: Seed of the hash; different seeds give different splits.

    Raises:
        ValueError: If a share is negative, or nothing is left to train on.
    """

    validation_share: Share
    test_share: Share
    seed: int

    def __post_init__(self) -> None:
        check_fields(self)
        held_out = self.validation_share + self.test_share
        if held_out >= 1:
            raise ValueError(
                "validation_share and test_share must be at least 0 and leave something to train on, got "
                f"{self.validation_share} and {self.test_share}. Lower them until their sum is below 1."
            )

    def split(self, name: str) -> str:
        """Return the split of the document called `name`."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        fraction = int.from_bytes(digest[:8], "big") / 2**64
        if fraction < self.test_share:
            return "test"
        return "validation" if fraction < self.test_share + self.validation_share else "train"

    def partition(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Return the documents by split, in the given order."""
        parts: dict[str, list[Document]] = {split: [] for split in SPLITS}
        for document in documents:
            parts[self.split(document.name)].append(document)
        return parts


class Corpus(ABC):
    """Named documents in the splits train, validation and test, read at first use and then kept in memory.

    Attributes:
        name: Name of the dataset in records.
        minimum_characters: Smallest number of characters of a document; shorter ones are left out.
    """

    name: str
    minimum_characters: int = 0

    @abstractmethod
    def read(self) -> dict[str, list[Document]]:
        """Return the documents of every split, short ones included, in an order that is the same in every process."""

    @cached_property
    def _read(self) -> dict[str, list[Document]]:
        return self.read()

    @cached_property
    def _documents(self) -> dict[str, list[Document]]:
        kept = {
            split: [document for document in documents if len(document.text) >= self.minimum_characters]
            for split, documents in self._read.items()
        }
        lengths = [len(document.text) for documents in self._read.values() for document in documents]
        if lengths and not any(kept.values()):
            raise ValueError(
                f"No document of {self.name} has the {self.minimum_characters:,} characters of minimum_characters: it "
                f"holds {len(lengths):,} documents, and the longest has {max(lengths):,} characters. Lower it."
            )
        return kept

    def documents(self, split: str) -> list[Document]:
        """Return the documents of `split`.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(
                f"A corpus has the splits {', '.join(SPLITS)}; {split!r} is not one of them. Choose one that is."
            )
        return self._documents[split]

    def identity(self) -> str:
        """Return 16 hexadecimal digits that change with any document's name, text or split; they enter cache keys."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        digest = hashlib.sha256()
        for split in SPLITS:
            for document in sorted(self.documents(split), key=lambda d: d.name):
                text = document.text.encode("utf-8", errors="surrogatepass")
                digest.update(f"{split}\0{document.name}\0{len(text)}\0".encode())
                digest.update(text)
        return digest.hexdigest()[:16]

    def short(self, split: str) -> int:
        """Return the number of documents of `split` that were left out because they are too short."""
        return len(self._read[split]) - len(self.documents(split))

    def without_text(self, split: str) -> int:
        """Return the number of rows of `split` that were left out because they have no text at all."""
        return 0

    def report(self) -> dict[str, dict[str, int]]:
        """Return the number of documents and of UTF-8 bytes in each split."""
        counts = {}
        for split in SPLITS:
            documents = self.documents(split)
            size = sum(len(d.text.encode("utf-8", errors="replace")) for d in documents)
            counts[split] = {"documents": len(documents), "bytes": size}
        return counts
