"""Synthetic training rows with long-range dependencies: copies, needles, passkeys, key-value pairs, variables, periods.

Passkeys follow arXiv:2305.16300, key-value pairs arXiv:2307.03172, and variable tracking arXiv:2404.06654. Small models
learn retrieval from such rows long before they learn it from code. All functions return a row of the same length as the
given one, with its first tokens, BOS; they take random numbers from the given generator and change no argument.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from lcx_lightning.data.tokenizers import Tokens, encoded

SHORTEST_ROW = 64  # tokens: room for two needles of 14 bytes, each repeated once: 1 + 4 * 14 = 57
SHORTEST_COPY = 16  # tokens: so many bytes of code rarely repeat by chance
CUE_LETTERS = 6
VALUE_LETTERS = 5
MOST_NEEDLES = 4
AT_ONCE = 0.1  # share of needles that are repeated at once, or after other needles
DIGITS = 5  # digits of a passkey, of the value of a key, and of a variable
MOST_HOPS = 4  # largest number of variables that copy the value of another

Row = Int[np.ndarray, " length"]


def letters(rng: np.random.Generator, count: int) -> str:
    """Return `count` random lower-case letters."""
    return bytes(rng.integers(ord("a"), ord("z") + 1, size=count, dtype=np.uint8)).decode()


def question(cue: str) -> str:
    """Return the text that asks for the value of `cue`; the answer is the value."""
    return f"\n{cue}"


def needle(cue: str, value: str) -> str:
    """Return the text that states the value of `cue`: the question with its answer, on a line.

    The blank keeps the tokens of a cue apart from those of its value: no pair of bytes is joined across it.
    """
    return f"{question(cue)} {value}\n"


def corpus_row(row: Row, _rng: np.random.Generator, _tokens: Tokens) -> Row:
    """Return the row unchanged."""
    return row


def copy_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with a random part of it, 16 tokens to a third of the row, copied to a random later position."""
    ahead = len(tokens.prefix)
    size = int(rng.integers(SHORTEST_COPY, (len(row) - ahead) // 3 + 1))
    source = int(rng.integers(ahead, len(row) - 2 * size + 1))
    target = int(rng.integers(source + size, len(row) - size + 1))
    pasted = row.copy()
    pasted[target : target + size] = row[source : source + size]
    return pasted


def retrieval_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with one to four needles inserted, each of them repeated at a later position.

    Distances from a needle to its repetition are uniform, up to the whole row, but a tenth of them are the least.
    """
    drawn = [needle(letters(rng, CUE_LETTERS), letters(rng, VALUE_LETTERS)) for _ in range(MOST_NEEDLES)]
    needles = [tokens.encode(text) for text in drawn]
    width = max(map(len, needles))
    ahead = len(tokens.prefix)
    room = len(row) - ahead
    count = int(rng.integers(1, min(MOST_NEEDLES, room // (2 * width)) + 1))
    distances = rng.uniform(-AT_ONCE, 1 - AT_ONCE, count).clip(min=0) / (1 - AT_ONCE)  # as shares of the room
    first = rng.random(count) * (1 - distances)
    places = np.stack([first, first + distances], axis=1)
    ranks = places.ravel().argsort().argsort().reshape(count, 2)
    starts = ahead + (places * (room - 2 * count * width + 1)).astype(int) + width * ranks
    with_needles = row.copy()
    for ids, both_starts in zip(needles[:count], starts, strict=True):
        for start in both_starts:
            with_needles[start : start + len(ids)] = ids
    return with_needles


def periodic_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return BOS and random letters that repeat with a random period of at most half the row."""
    ahead = len(tokens.prefix)
    room = len(row) - ahead
    period = encoded(tokens, letters(rng, int(rng.integers(2, room // 2 + 1))))
    return np.concatenate([row[:ahead], np.resize(np.asarray(period, dtype=row.dtype), room)])


def passkey_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with a passkey stated at a random position, and again at its end."""
    statement = f"\nThe passkey is {digits(rng, DIGITS)}.\n"
    return _paste(row, [statement, statement], rng, tokens)


def key_value_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with half of it replaced by key-value pairs at random positions, one of them again at its end."""
    drawn = [f"\n{letters(rng, VALUE_LETTERS)}: {digits(rng, DIGITS)}\n" for _ in range(2)]
    width = max(len(tokens.encode(pair)) for pair in drawn)
    more = max((len(row) - len(tokens.prefix)) // (2 * width) - len(drawn), 0)
    drawn += [f"\n{letters(rng, VALUE_LETTERS)}: {digits(rng, DIGITS)}\n" for _ in range(more)]
    return _paste(row, [*drawn, drawn[int(rng.integers(len(drawn)))]], rng, tokens)


def variable_tracking_row(row: Row, rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with a chain of variables, each assigned to the next, and the value of the last one at its end."""
    names, value = [letters(rng, 3) for _ in range(MOST_HOPS + 1)], digits(rng, DIGITS)
    chain = [f"\n{names[0]} = {value}\n", *(f"\n{new} = {old}\n" for old, new in pairwise(names))]
    sizes = [len(tokens.encode(line)) for line in (f"\n{names[0]} = {value}\n", *chain)]
    most = (
        int(np.searchsorted(np.cumsum(sizes), len(row) - len(tokens.prefix), side="right")) - 2
    )  # hops for which there is room
    hops = int(rng.integers(1, max(most, 1) + 1))
    return _paste(row, [*chain[: hops + 1], f"\n{names[hops]} = {value}\n"], rng, tokens)


def digits(rng: np.random.Generator, count: int) -> str:
    """Return a random number of `count` digits, the first of which is not 0."""
    return str(rng.integers(10 ** (count - 1), 10**count))


def _paste(row: Row, texts: list[str], rng: np.random.Generator, tokens: Tokens) -> Row:
    """Return the row with texts inserted in their order: the last one at its end, the others at random positions.

    Raises:
        ValueError: If the texts do not fit into the row.
    """
    pieces = [np.asarray(tokens.encode(text), row.dtype) for text in texts]
    sizes = np.array([len(piece) for piece in pieces])
    ahead = len(tokens.prefix)
    free = len(row) - ahead - int(sizes.sum())
    if free < 0:
        raise ValueError(
            f"A training row of {len(row)} tokens has no room for {len(texts)} texts such as {texts[0].strip()!r}: "
            f"take rows of {len(row) - free} tokens or more, or another mixture."
        )
    before = np.append(np.sort(rng.integers(free + 1, size=len(pieces) - 1)), free)  # tokens of the row before each
    pasted = row.copy()
    for start, piece in zip(ahead + before + sizes.cumsum() - sizes, pieces, strict=True):
        pasted[start : start + len(piece)] = piece
    return pasted


ROWS: dict[str, Callable[[Row, np.random.Generator, Tokens], Row]] = {
    "corpus": corpus_row,
    "copy": copy_row,
    "retrieval": retrieval_row,
    "periodic": periodic_row,
    "passkey": passkey_row,
    "key_value": key_value_row,
    "variable_tracking": variable_tracking_row,
}
