"""Corpora given as lists of texts, and what tests of the data know of bytes."""

from pathlib import Path

from lcx_lightning.data.corpora.base import SPLITS, Corpus, Document

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs" / "data"
BOS = 256
CORPUS_ONLY = {"corpus": 1.0}


class Books(Corpus):
    """A corpus given as lists of texts."""

    name = "books"

    def __init__(self, **splits: list[str]) -> None:
        self._splits = splits

    def read(self) -> dict[str, list[Document]]:
        return {s: [Document(f"{s}-{i}", text) for i, text in enumerate(self._splits.get(s, []))] for s in SPLITS}


def text_of(ids) -> str:
    return bytes(int(i) for i in ids if i != BOS).decode("latin-1")
