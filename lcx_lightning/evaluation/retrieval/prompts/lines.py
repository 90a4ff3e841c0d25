"""Prompts are lines, each tokenized by itself, so that a prompt has exactly as many tokens as it should.

Every line is encoded as the text after a line feed, and the lines are joined by the token of a line feed. So the number
of tokens is a sum, whatever the tokenizer, and text can be cut to fill the prompt to the token.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.tokenizers import Tokens

Line = Sequence[int] | Int[np.ndarray, " tokens"]


def line_feed(tokens: Tokens) -> int:
    """Return the token of a line feed.

    Raises:
        ValueError: If the tokenizer drops line feeds.
    """
    ids = tokens.encode("\n")
    if not ids:
        raise ValueError(
            "Prompts are lines of text, and this tokenizer has no token for a line feed: choose a checkpoint whose "
            "tokenizer keeps text as it is."
        )
    return ids[-1]


def line(tokens: Tokens, text: str) -> list[int]:
    """Return the tokens of a text that follows a line feed."""
    feed, ids = tokens.encode("\n"), tokens.encode(f"\n{text}")
    return ids[len(feed) :] if ids[: len(feed)] == feed else tokens.encode(text)


def behind(tokens: Tokens, before: str, text: str) -> list[int]:
    """Return the tokens of a text that continues the line `before`."""
    known, ids = line(tokens, before), line(tokens, before + text)
    return ids[len(known) :] if ids[: len(known)] == known else line(tokens, text)


def size(lines: Sequence[Line]) -> int:
    """Return the number of tokens of a page, BOS included."""
    return sum(map(len, lines)) + len(lines)


def page(tokens: Tokens, lines: Sequence[Line]) -> Int[np.ndarray, " tokens"]:
    """Return BOS and the lines, with a line feed between each two."""
    feed = np.array([line_feed(tokens)])
    parts = [part for one in lines for part in (feed, np.asarray(one, dtype=np.int64))]
    return np.concatenate([np.array([tokens.bos]), *parts[1:]])


def opened(tokens: Tokens, opening: str) -> list[Line]:
    """Return the lines of the text that a prompt begins with; none if it is empty."""
    first, *rest = opening.split("\n")
    return [tokens.encode(first), *(line(tokens, text) for text in rest)] if opening else []


def check_fits(needed: int, length: int, what: str) -> None:
    """Raise a ValueError if a prompt with its answer needs more tokens than it may have."""
    if needed > length:
        raise ValueError(
            f"The shortest prompt has {needed} tokens ({what}), and the context is to have {length}. "
            "Raise the least of multiples, or choose a task with a shorter prompt."
        )
