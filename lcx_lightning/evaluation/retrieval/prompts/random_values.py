"""Random keys and values of prompts, from a given generator: letters, digits, capitals, words and UUIDs."""

import uuid
from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from lcx_lightning.data.synthetic_rows import letters
from lcx_lightning.schema.checked import checked

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
MOST_DIGITS = 18  # of an integer of 64 bits
TRIES = 10_000  # to draw a value that is not there yet
SYLLABLES = (2, 4)  # of a word, from and to: 2 * 70 ** 3 words and more


def digits(rng: np.random.Generator, count: int) -> str:
    """Return a number of `count` digits, the first of which is not 0."""
    return str(rng.integers(10 ** (count - 1), 10**count))


def capitals(rng: np.random.Generator, count: int) -> str:
    """Return `count` random capital letters."""
    return letters(rng, count).upper()


def words(rng: np.random.Generator, count: int) -> str:
    """Return `count` words that can be pronounced but mean nothing, with hyphens between them."""
    return "-".join(_word(rng) for _ in range(count))


def uuids(rng: np.random.Generator, count: int) -> str:
    """Return `count` UUIDs of version 4, with spaces between them."""
    return " ".join(str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(count))


def _word(rng: np.random.Generator) -> str:
    syllables = rng.integers(*SYLLABLES)
    first, second = rng.integers(len(CONSONANTS), size=syllables), rng.integers(len(VOWELS), size=syllables)
    return "".join(CONSONANTS[c] + VOWELS[v] for c, v in zip(first, second, strict=True))


KINDS: dict[str, Callable[[np.random.Generator, int], str]] = {
    "letters": letters,
    "digits": digits,
    "capitals": capitals,
    "words": words,
    "uuids": uuids,
}


Kind = Mapping[str, Annotated[int, Ge(1), Le(1000)]]
"""A name from KINDS and how many of them make a value: {digits: 5}."""


class Values:
    """Draw values of one kind.

    Args:
        kind: A name from KINDS and how many of them make a value: {digits: 5}.

    Raises:
        ValueError: If there is no such kind, or the number is below 1 or too large.
    """

    @checked
    def __init__(self, kind: Kind) -> None:
        ((self._name, self._count),) = kind.items() if len(kind) == 1 else [("", 0)]
        if self._name not in KINDS:
            raise ValueError(
                f"A kind of values is one of {', '.join(KINDS)} with a number, such as {{digits: 5}}; got {dict(kind)}."
            )
        if self._name == "digits" and self._count > MOST_DIGITS:
            raise ValueError(f"A value has {MOST_DIGITS} digits at most, got {dict(kind)}.")

    def __str__(self) -> str:
        return f"{self._count} {self._name}"

    def draw(self, rng: np.random.Generator, count: int, taken: set[str]) -> list[str]:
        """Return `count` values that differ from each other and from those in `taken`, and add them to it.

        Raises:
            ValueError: If there are too few values of this kind.
        """
        return [self._new(rng, taken) for _ in range(count)]

    def _new(self, rng: np.random.Generator, taken: set[str]) -> str:
        for _ in range(TRIES):
            value = KINDS[self._name](rng, self._count)
            if value not in taken:
                taken.add(value)
                return value
        raise ValueError(
            f"There are too few different values of {self} for one prompt. Raise the number of {self._name}."
        )
