"""The interface of a retrieval task: a prompt of an exact number of tokens, and what its answer should be."""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.dataset import LongContextData


@dataclass(frozen=True)
class Prompt:
    """What a model is given, and what it should say.

    Attributes:
        ids: The prompt: BOS at position 0, and all tokens up to where the answer begins.
        answer: The tokens of the answer, which may be fewer than there is room for.
        wanted: The strings that the answer holds.
    """

    ids: Int[np.ndarray, " tokens"]
    answer: Int[np.ndarray, " answer"]
    wanted: tuple[str, ...]


class Place(NamedTuple):
    """Where the needle that is asked for stands: one of the two, or neither to draw a place."""

    depth: float | None = None  # share of the text that stands before it, 0 to 1
    distance: int | None = None  # tokens from its first one to the end of the prompt


class RetrievalTask(abc.ABC):
    """Make prompts of one kind. All that is drawn comes from the given generator.

    Attributes:
        room: Tokens kept free for the answer, which is then generated, and searched for the wanted strings. None: as
            many as the answer has, which is then to be given exactly, token by token.
        asks: What is asked for, in words: 5 digits.
        split: The split of the corpus whose text surrounds it; None if there is none in it.
    """

    room: int | None
    asks: str
    split: str | None

    @abc.abstractmethod
    def prompt(self, data: LongContextData, length: int, place: Place, rng: np.random.Generator) -> Prompt:
        """Return a prompt that has, with the room for its answer, exactly `length` tokens.

        Raises:
            ValueError: If it does not fit, or the task has no such place.
        """
