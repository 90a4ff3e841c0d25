"""Frequent words: which three words of a text that follows Zipf's law are most frequent? (RULER, arXiv:2404.06654.)"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Gt
from pydantic import PositiveInt
from scipy.special import zeta

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.retrieval.prompts.base import Place, Prompt, RetrievalTask
from lcx_lightning.evaluation.retrieval.prompts.lines import check_count
from lcx_lightning.evaluation.retrieval.prompts.listing import Wording, longest_list
from lcx_lightning.evaluation.retrieval.prompts.random_values import Kind, Values
from lcx_lightning.schema.checked import checked, section

ASKED = 3  # most frequent words, not counting the noise


class FrequentWords(RetrievalTask):
    """Write N words in random order, the k-th of them k^-alpha / zeta(alpha) of the text: which are most frequent?

    The most frequent word is noise, three dots; the next three are asked for.

    Args:
        wording: Text of a prompt.
        word: Kind of the words.
        tokens_per_word: Tokens of the context for each different word.
        alpha: Exponent of the law, above 1; a lower one is harder.
        room: Tokens kept for the generated answer.
    """

    @checked
    def __init__(
        self,
        *,
        wording: Mapping[str, str],
        word: Kind,
        tokens_per_word: PositiveInt,
        alpha: Annotated[float, Gt(1)],
        room: PositiveInt,
    ) -> None:
        self._wording, self._word, self._alpha = section(Wording, wording, "wording"), Values(word), alpha
        self._tokens_per_word, self._room = tokens_per_word, room
        self.room, self.asks, self.split = room, f"{ASKED} words", None

    def prompt(self, data: LongContextData, length: int, place: Place, rng: np.random.Generator) -> Prompt:
        if place != Place():
            raise ValueError("Frequent words stand all over their text: leave out depths and distances.")
        check_count(self._least(), length, f"words, which alpha={self._alpha} needs")
        number = max(length // self._tokens_per_word, ASKED + 2)
        words = ["...", *self._word.draw(rng, number - 1, set())]
        entries = partial(self._text, words, int(rng.integers(2**62)))
        asked = words[1 : ASKED + 1]
        return longest_list(data.tokens, self._wording, entries, asked, length=length, room=self._room)

    def _text(self, words: list[str], seed: int, more: int) -> str:
        """Return the text in an order drawn from the seed, `more` words longer than the shortest with an answer."""
        times = int(self._least()) + more
        counts = times * np.arange(1, len(words) + 1) ** -self._alpha / zeta(self._alpha)
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(words)), counts.astype(int)))
        return " ".join(words[i] for i in order)

    def _least(self) -> float:
        """Return the least number of words at which the last asked one occurs more often than the next word."""
        last, following = (k**-self._alpha / zeta(self._alpha) for k in (ASKED + 1, ASKED + 2))
        return float(np.ceil(1 / (last - following))) if last > following else math.inf
