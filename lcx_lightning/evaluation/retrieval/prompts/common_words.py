"""Common words: which words of a long numbered list are there most often? (RULER, arXiv:2404.06654, section 3.3.)"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.retrieval.prompts.base import Place, Prompt, RetrievalTask
from lcx_lightning.evaluation.retrieval.prompts.lines import check_count
from lcx_lightning.evaluation.retrieval.prompts.listing import Wording, longest_list
from lcx_lightning.evaluation.retrieval.prompts.random_values import Kind, Values
from lcx_lightning.schema.checked import checked, section


@dataclass(frozen=True)
class Times:
    """How often words are in a list."""

    common: PositiveInt  # each of the common words
    other: PositiveInt  # any other word


@dataclass(frozen=True)
class Example(Times):
    """The solved list."""

    words: NonNegativeInt  # number of other words in it


class CommonWords(RetrievalTask):
    """List a few words many times and many words a few times, in random order, and ask for the few.

    The words mean nothing, because a list of real words would end. A solved list stands before the one that is asked.

    Args:
        wording: Text of a prompt; {words} in the answer stands for the common words, numbered.
        word: Kind of the words.
        common: Number of words that are asked for.
        times: How often a `common` word and any `other` word are in the list.
        example: How often they are in the solved list, and the number of its other `words`.
        room: Tokens kept for the generated answer.
    """

    @checked
    def __init__(
        self,
        *,
        wording: Mapping[str, str],
        word: Kind,
        common: PositiveInt,
        times: Mapping[str, int],
        example: Mapping[str, int],
        room: PositiveInt,
    ) -> None:
        self._wording, self._word, self._common = section(Wording, wording, "wording"), Values(word), common
        self._times, self._room = asdict(section(Times, times, "times")), room
        self._example = asdict(section(Example, example, "example"))
        self.room, self.asks, self.split = room, f"{common} words", None

    def prompt(self, data: LongContextData, length: int, place: Place, rng: np.random.Generator) -> Prompt:
        if place != Place():
            raise ValueError("Common words stand all over their list: leave out depths and distances.")
        check_count(self._least(), length, "words")
        taken = set[str]()
        solved = self._word.draw(rng, self._common + self._example["words"], taken)
        listed = self._list(solved, self._example, int(rng.integers(2**62)))
        answer = self._wording.answer.format(words=numbered(solved[: self._common]))
        before = "\n".join([self._wording.opening, listed, self._wording.question + answer, ""])
        most = length // (2 * self._times["other"])  # a word has two tokens at the least, one of them of its number
        words = self._word.draw(rng, self._common + most, taken)
        entries, wanted = partial(self._entries, words, int(rng.integers(2**62))), words[: self._common]
        return longest_list(
            data.tokens,
            self._wording,
            entries,
            wanted,
            length=length,
            room=self._room,
            before=before,
            answer=numbered(wanted),
        )

    def _least(self) -> int:
        """Return the number of words in the solved list and in the shortest list that is asked."""
        times, example = self._times, self._example
        return self._common * (times["common"] + example["common"]) + example["words"] * example["other"]

    def _entries(self, words: list[str], seed: int, others: int) -> str:
        return self._list(words[: self._common + others], self._times, seed)

    def _list(self, words: list[str], times: Mapping[str, int], seed: int) -> str:
        """Return the numbered list of words, the first of which are common, in an order drawn from the seed."""
        all_words = words[: self._common] * times["common"] + words[self._common :] * times["other"]
        order = np.random.default_rng(seed).permutation(len(all_words))
        return numbered([all_words[i] for i in order])


def numbered(words: list[str]) -> str:
    """Return words with their numbers, from 1."""
    return " ".join(f"{number}. {word}" for number, word in enumerate(words, start=1))
