"""Prompts are lines, each tokenized by itself, so that a prompt has exactly as many tokens as it should.

Every line is encoded as the text after a line feed, and the lines are joined by the token of a line feed. So the number
of tokens is a sum, whatever the tokenizer, and text can be cut to fill the prompt to the token.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.tokenizers import Tokens, encoded, line_feed

Line = Sequence[int] | Int[np.ndarray, " tokens"]


def line(tokens: Tokens, text: str) -> list[int]:
    """Return the tokens of a text that follows a line feed; ValueError if a text has none."""
    feed, ids = tokens.encode("\n"), tokens.encode(f"\n{text}")
    after = ids[len(feed) :] if ids[: len(feed)] == feed else tokens.encode(text)
    return after or (encoded(tokens, text) if text else [])


def behind(tokens: Tokens, before: str, text: str) -> list[int]:
    """Return the tokens of a text that continues the line `before`; ValueError if it has none."""
    known, ids = line(tokens, before), line(tokens, before + text)
    after = ids[len(known) :] if ids[: len(known)] == known else line(tokens, text)
    return after or encoded(tokens, text)


def size(lines: Sequence[Line]) -> int:
    """Return the number of tokens of a page, BOS counted as one token."""
    return sum(map(len, lines)) + len(lines)


def page(tokens: Tokens, lines: Sequence[Line]) -> Int[np.ndarray, " tokens"]:
    """Return BOS and the lines, with a line feed between each two."""
    feed = np.array([line_feed(tokens)])
    parts = [part for one in lines for part in (feed, np.asarray(one, dtype=np.int64))]
    return np.concatenate([np.array(tokens.prefix), *parts[1:]])


def opened(tokens: Tokens, opening: str) -> list[Line]:
    """Return the lines of the text that a prompt begins with; none if it is empty."""
    first, *rest = opening.split("\n")
    return [encoded(tokens, first) if first else [], *(line(tokens, text) for text in rest)] if opening else []


FEW = 100_000  # pieces, drawn in a second; then `check_fits` tells the length that the prompt needs


def check_count(pieces: float, length: int, what: str) -> None:
    """Raise a ValueError if a prompt is to have more pieces than tokens, and they are too many to draw and see."""
    if pieces > max(length, FEW):
        raise ValueError(
            f"A prompt of {length} tokens has no room for {pieces:g} {what}. Lower their number, or raise the least of "
            "multiples."
        )


def check_fits(needed: int, length: int, what: str) -> None:
    """Raise a ValueError if a prompt with its answer needs more tokens than it may have."""
    if needed > length:
        raise ValueError(
            f"The shortest prompt has {needed} tokens ({what}), and the context is to have {length}. "
            "Raise the least of multiples, or choose a task with a shorter prompt."
        )
