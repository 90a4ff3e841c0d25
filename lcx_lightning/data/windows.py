"""Evaluation windows: the same last tokens of the same documents at every context length and for every arm."""

from dataclasses import dataclass

import numpy as np

from lcx_lightning.data.token_stream import TokenStream


@dataclass(frozen=True)
class Window:
    """An end in a document; the window with a context of c tokens is BOS and the tokens before `end` that fill it.

    Attributes:
        split: Split of the corpus.
        document: Name of the document.
        index: Index of the document in the split.
        end: Number of tokens of the document up to and including the last one of the window.
    """

    split: str
    document: str
    index: int
    end: int


def draw_windows(stream: TokenStream, split: str, longest: int, count: int, seed: int, ahead: int) -> list[Window]:
    """Return `count` windows that do not overlap, of `longest` tokens each, the first `ahead` of which are BOS.

    Documents in a random order give one window each, then long ones a second one, and so on. A shorter list is the
    beginning of a longer one.

    Raises:
        ValueError: If the documents hold fewer such windows; the message says how long they are.
    """
    size = longest - ahead
    windows_in = stream.lengths // size  # number of windows in each document
    if windows_in.sum() < count:
        raise ValueError(_too_short_message(stream, split, longest, count, ahead))
    rng = np.random.default_rng([seed, longest])
    long_enough = rng.permutation(np.flatnonzero(windows_in))
    ends = {index: _ends(int(stream.lengths[index]), size, rng) for index in long_enough}
    windows = [
        Window(split, stream.names[index], int(index), ends[index][turn])
        for turn in range(int(windows_in.max()))
        for index in long_enough
        if turn < len(ends[index])
    ]
    return windows[:count]


def draw_joined(stream: TokenStream, split: str, length: int, seed: int, ahead: int) -> list[Window]:
    """Return documents in a random order, each once, that have `length` - `ahead` tokens together; the last one is cut.

    Raises:
        ValueError: If all documents together have fewer tokens; the message says how many.
    """
    total = int(stream.lengths.sum())
    if total < length - ahead:
        raise ValueError(
            f"A stream of {length:,} tokens (BOS included) is needed from the {split} split, whose {len(stream.names)} "
            f"documents hold {total:,} tokens together. Set a shorter length, or choose a larger corpus."
        )
    documents, left = [], length - ahead
    for index in np.random.default_rng([seed, length]).permutation(np.flatnonzero(stream.lengths)):
        end = min(int(stream.lengths[index]), left)
        documents.append(Window(split, stream.names[index], int(index), end))
        left -= end
        if not left:
            break
    return documents


def _ends(length: int, size: int, rng: np.random.Generator) -> list[int]:
    """Return the ends of adjacent windows of `size` tokens from a random start, in random order."""
    count = length // size
    start = int(rng.integers(length - count * size + 1))
    return [start + size * (int(index) + 1) for index in rng.permutation(count)]


def _too_short_message(stream: TokenStream, split: str, longest: int, count: int, ahead: int) -> str:
    """Return a message with what is needed, how long the documents are, and what to do."""
    needed = f"{count} windows of {longest:,} tokens (BOS included) are needed from the {split} split"
    if len(stream.names) == 0:
        return f"{needed}, which has no documents. Give the split a larger share, or choose another corpus."
    windows_in = stream.lengths // (longest - ahead)
    lengths = [length for length in (2**k for k in range(7, 31)) if (stream.lengths >= length - ahead).any()]
    counts = ", ".join(f"{length:,} tokens: {(stream.lengths >= length - ahead).sum()}" for length in lengths)
    top = int(stream.lengths.argmax())
    return (
        f"{needed}; {(windows_in > 0).sum()} of its {len(windows_in)} documents reach that length and hold "
        f"{windows_in.sum()} windows. The longest is {stream.names[top]} with {stream.lengths[top]:,} tokens. "
        f"Documents that reach {counts or '128 tokens: 0'}. "
        "Ask for a shorter length or fewer windows, or choose a corpus with longer documents."
    )
