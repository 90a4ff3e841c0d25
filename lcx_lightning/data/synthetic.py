"""Rows that reward reading far back: pasted copies, needles to retrieve (the passkeys of arXiv:2305.16300), periods.

Small models learn to look things up from such rows long before they learn it from code. All functions keep the length
of the row they are given and its first token, BOS; they draw from the given generator and write into no argument.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.tokens import Tokens

SHORTEST_ROW = 64  # room for two needles of 13 bytes, each asked once: 1 + 4 * 13 = 53
SHORTEST_COPY = 16  # bytes of code that hardly repeat by chance
CUE_LETTERS = 6
VALUE_LETTERS = 5
MOST_NEEDLES = 4

Row = Int[np.ndarray, " length"]


def letters(rng: np.random.Generator, count: int) -> str:
    """Return `count` random lower-case letters."""
    return bytes(rng.integers(ord("a"), ord("z") + 1, size=count, dtype=np.uint8)).decode()


def question(cue: str) -> str:
    """Return the text that asks for the value of `cue`; the answer is the value's letters."""
    return f"\n{cue}"


def needle(cue: str, value: str) -> str:
    """Return the text that tells the value of `cue`: the question with its answer, on a line."""
    return f"{question(cue)}{value}\n"


def corpus_row(row: Row, _rng: np.random.Generator, _tokens: Tokens) -> Row:
    """Return the row as it is."""
    return row


def copy_row(row: Row, rng: np.random.Generator, _tokens: Tokens) -> Row:
    """Return the row with a random span of it (16 tokens to a third of the row) pasted at a random later place."""
    size = int(rng.integers(SHORTEST_COPY, (len(row) - 1) // 3 + 1))
    source = int(rng.integers(1, len(row) - 2 * size + 1))
    target = int(rng.integers(source + size, len(row) - size + 1))
    pasted = row.copy()
    pasted[target : target + size] = row[source : source + size]
    return pasted


def retrieval_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with one to four needles in it, each followed somewhere later by its cue and its value again.

    Needles and repetitions stand in random order at random places, each needle before its repetition.
    """
    drawn = [needle(letters(rng, CUE_LETTERS), letters(rng, VALUE_LETTERS)) for _ in range(MOST_NEEDLES)]
    needles = [tokens.encode(text) for text in drawn]
    width = max(map(len, needles))
    room = len(row) - 1
    count = int(rng.integers(1, min(MOST_NEEDLES, room // (2 * width)) + 1))
    free = np.sort(rng.integers(room - 2 * count * width + 1, size=2 * count))
    starts = 1 + free + width * np.arange(2 * count)
    hidden = row.copy()
    for ids, places in zip(needles[:count], rng.permutation(starts).reshape(count, 2), strict=True):
        for place in places:
            hidden[place : place + len(ids)] = ids
    return hidden


def periodic_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return random letters that repeat with a random period of at most half the row, behind the row's BOS."""
    room = len(row) - 1
    period = tokens.encode(letters(rng, int(rng.integers(2, room // 2 + 1))))
    return np.concatenate([row[:1], np.resize(np.asarray(period, dtype=row.dtype), room)])


ROWS: dict[str, Callable[[Row, np.random.Generator, Tokens], Row]] = {
    "corpus": corpus_row,
    "copy": copy_row,
    "retrieval": retrieval_row,
    "periodic": periodic_row,
}
