"""Prompts that are one long list between an opening and a question: as many entries as fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.evaluation.retrieval.prompts.base import Prompt
from lcx_lightning.evaluation.retrieval.prompts.lines import Line, behind, check_fits, line, opened, page, size

FIRST_GUESS = 64  # entries


@dataclass(frozen=True)
class Wording:
    """The text of a prompt."""

    opening: str
    question: str  # up to where the answer begins
    answer: str  # {words} stands for the wanted words


def most_that_fit(tokens_of: Callable[[int], int], budget: int, most: int) -> int:
    """Return the largest number of entries, from 0 to `most`, that has no more tokens than the budget.

    Tokens grow nearly in proportion to the number, so each guess follows from the last one: a long list is made only a
    few times.

    Args:
        tokens_of: Returns the tokens of a number of entries. No entries are within the budget.
        budget: Largest number of tokens.
        most: Largest number of entries.
    """
    low, high, at_low, guess = 0, most, tokens_of(0), FIRST_GUESS
    while low < high:
        middle = min(max(guess, low + 1), high)
        found = tokens_of(middle)
        each = max((found - at_low) / (middle - low), 0.5)
        if found <= budget:
            low, at_low = middle, found
        else:
            high = middle - 1
        guess = low + int((budget - at_low) / each)
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
    """Return the prompt with the longest list that fits; blank lines before it fill what is missing then.

    Args:
        tokens: Tokenizer of the model.
        wording: Text of the prompt.
        entries: Returns the list with a given number of entries, 0 or more.
        wanted: Words of the answer.
        length: Tokens of the prompt with the room for its answer.
        room: Tokens kept for the answer.
        before: Text before all others.
        answer: The words as the answer lists them. None to separate them by spaces.

    Raises:
        ValueError: If not even the list without entries fits.
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
    number = most_that_fit(lambda n: size(lines(n)), length - room, length)
    found = lines(number)
    blank: list[Line] = [[]] * (length - room - size(found))
    text = wording.answer.format(words=answer or " ".join(wanted))
    ids = np.asarray(behind(tokens, wording.question, text), dtype=np.int64)
    return Prompt(page(tokens, [*ahead, *blank, *found[len(ahead) :]]), ids, tuple(wanted))
