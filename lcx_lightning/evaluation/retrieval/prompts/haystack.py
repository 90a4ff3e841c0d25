"""The text that surrounds a needle: text of the corpus, or a few sentences over and over."""

import abc

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.retrieval.prompts.lines import behind, line
from lcx_lightning.schema.checked import checked


class Hay(abc.ABC):
    """Text without end.

    Attributes:
        split: Split of the corpus that the text is from. None if it is not from a corpus.
    """

    split: str | None

    @abc.abstractmethod
    def text(self, data: LongContextData, tokens: int, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
        """Return text of a given number of tokens."""


class CorpusText(Hay):
    """A random slice of a random document, continued by other documents where that one ends.

    Args:
        split: Split of the corpus: test for results.
    """

    @checked
    def __init__(self, *, split: Split) -> None:
        self.split = self._split = split

    def text(self, data: LongContextData, tokens: int, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
        return data.text(self._split, tokens, rng)


class Repeated(Hay):
    """The same sentences over and over, with a blank between them.

    Args:
        sentences: The sentences, as they read once.

    Raises:
        ValueError: If there are none.
    """

    @checked
    def __init__(self, *, sentences: str) -> None:
        if not sentences.strip():
            raise ValueError("The text around a needle repeats sentences, and there are none: give at least one.")
        self._sentences, self.split = sentences, None

    def text(self, data: LongContextData, tokens: int, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
        first = line(data.tokens, self._sentences)
        again = behind(data.tokens, self._sentences, f" {self._sentences}")
        more = np.resize(again, max(tokens - len(first), 0))
        return np.concatenate([first, more])[:tokens].astype(np.int64)
