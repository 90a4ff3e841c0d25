"""Prompts that are one long list between an opening and a question: as many entries as fit, to the token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lcx_lightning.data.prompts.base import Prompt
from lcx_lightning.data.prompts.frame import Line, behind, check_fits, line, opened, page, size
from lcx_lightning.data.tokens import Tokens


@dataclass(frozen=True)
class Wording:
    """The text of a prompt."""

    opening: str
    question: str  # up to where the answer begins
    answer: str  # {words} stands for them


def most_that_fit(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number from 0 to `most` that fits, by bisection; 0 if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def longest_list(
    tokens: Tokens,
    wording: Wording,
    entries: Callable[[int], str],
    wanted: Sequence[str],
    *,
    length: int,
    room: int,
    before: str = "",
    answer: str | None = None,
) -> Prompt:
    """Return the prompt with the longest list that fits; what is missing then is blank lines before it.

    Args:
        tokens: The tokenizer.
        wording: The text of the prompt.
        entries: Gives the list of a size, 0 or more.
        wanted: The words of the answer.
        length: Tokens of the prompt with the room for its answer.
        room: Tokens of that.
        before: Text before all others.
        answer: The words as the answer lists them; None for blanks between them.

    Raises:
        ValueError: If the list of size 0 does not fit.
    """
    ahead, question = opened(tokens, before + wording.opening), line(tokens, wording.question)

    def lines(number: int) -> list[Line]:
        return [*ahead, line(tokens, entries(number)), question]

    least = lines(0)
    what = (
        f"{size(ahead)} of BOS and the opening, {len(least[-2])} of the shortest list, {len(question)} of the "
        f"question, {room} of the answer"
    )
    check_fits(size(least) + room, length, what)
    number = most_that_fit(lambda n: size(lines(n)) + room <= length, length)
    found = lines(number)
    blank: list[Line] = [[]] * (length - room - size(found))
    said = wording.answer.format(words=answer or " ".join(wanted))
    ids = np.asarray(behind(tokens, wording.question, said), dtype=np.int64)
    return Prompt(page(tokens, [*ahead, *blank, *found[len(ahead) :]]), ids, tuple(wanted))
