"""The interface of a retrieval task: a prompt of an exact number of tokens, and what its answer should be."""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.dataset import LongContextData


@dataclass(frozen=True)
class Prompt:
    """What a model is given, and what it should answer.

    Attributes:
        ids: The prompt: BOS at its front, and all tokens up to where the answer begins.
        answer: The tokens of the answer, which may be fewer than there is room for.
        wanted: The strings that the answer should contain.
    """

    ids: Int[np.ndarray, " tokens"]
    answer: Int[np.ndarray, " answer"]
    wanted: tuple[str, ...]


class Place(NamedTuple):
    """Where the needle that is asked for stands: a depth, a distance, or neither to draw a place at random."""

    depth: float | None = None  # share of the text before it, 0 to 1
    distance: int | None = None  # tokens from its first token to the end of the prompt


class RetrievalTask(abc.ABC):
    """Make prompts of one kind. All random draws come from the given generator.

    Attributes:
        room: Tokens kept free for the answer, which is generated and searched for the wanted strings. None if the
            answer is to be given exactly, token by token; the room is then that of the answer.
        asks: What is asked for, in words: 5 digits.
        split: Split of the corpus that the surrounding text is from. None if the text is not from a corpus.
    """

    room: int | None
    asks: str
    split: str | None

    @abc.abstractmethod
    def prompt(self, data: LongContextData, length: int, place: Place, rng: np.random.Generator) -> Prompt:
        """Return a prompt that has, with the room for its answer, exactly `length` tokens, BOS counted as one of them.

        Raises:
            ValueError: If the prompt does not fit, or the task has no such place.
        """
