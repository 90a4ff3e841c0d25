"""Evaluation windows: the same last tokens of the same documents under every context length and for every arm."""

from dataclasses import dataclass

import numpy as np

from lcx_lightning.data.token_stream import TokenStream


@dataclass(frozen=True)
class Window:
    """An end position in a document; its window of context c is BOS and the c - 1 tokens before `end`.

    Attributes:
        split: The corpus split.
        document: The document's name.
        index: The document's place in the split.
        end: Number of the document's tokens up to and with the last one of the window.
    """

    split: str
    document: str
    index: int
    end: int


def draw_windows(stream: TokenStream, split: str, longest: int, count: int, seed: int) -> list[Window]:
    """Return `count` windows that have `longest` - 1 tokens each (BOS takes one place) and share none of them.

    Documents in a random order give one window each, then the long ones a second one, and so on. The first windows of a
    longer list are the shorter list.

    Raises:
        ValueError: If the documents hold fewer such windows; it says how long they are.
    """
    size = longest - 1
    held = stream.lengths // size
    if held.sum() < count:
        raise ValueError(_too_long(stream, split, longest, count))
    rng = np.random.default_rng([seed, longest])
    reaching = rng.permutation(np.flatnonzero(held))
    ends = {index: _ends(int(stream.lengths[index]), size, rng) for index in reaching}
    rounds = range(int(held.max()))
    windows = [
        Window(split, stream.names[index], int(index), ends[index][turn])
        for turn in rounds
        for index in reaching
        if turn < len(ends[index])
    ]
    return windows[:count]


def draw_joined(stream: TokenStream, split: str, length: int, seed: int) -> list[Window]:
    """Return documents in a random order, each once, that together have `length` - 1 tokens; the last one is cut.

    Raises:
        ValueError: If all together hold fewer; it says how many.
    """
    held = int(stream.lengths.sum())
    if held < length - 1:
        raise ValueError(
            f"A stream of {length:,} tokens (BOS included) was asked of the {split} split, whose {len(stream.names)} "
            f"documents hold {held:,} tokens together. Ask for a shorter stream, or choose a larger corpus."
        )
    documents, left = [], length - 1
    for index in np.random.default_rng([seed, length]).permutation(np.flatnonzero(stream.lengths)):
        end = min(int(stream.lengths[index]), left)
        documents.append(Window(split, stream.names[index], int(index), end))
        left -= end
        if not left:
            break
    return documents


def _ends(length: int, size: int, rng: np.random.Generator) -> list[int]:
    """Return the ends of the windows of `size` tokens that stand side by side from a random start, shuffled."""
    count = length // size
    start = int(rng.integers(length - count * size + 1))
    return [start + size * (int(place) + 1) for place in rng.permutation(count)]


def _too_long(stream: TokenStream, split: str, longest: int, count: int) -> str:
    """Return what was asked, how long the documents are, and what to do."""
    needed = f"{count} windows of {longest:,} tokens (BOS included) were asked of the {split} split"
    if len(stream.names) == 0:
        return f"{needed}, which has no documents. Give the split a larger share, or choose another corpus."
    held = stream.lengths // (longest - 1)
    lengths = [length for length in (2**k for k in range(7, 31)) if (stream.lengths >= length - 1).any()]
    max_context = ", ".join(f"{length:,} tokens: {(stream.lengths >= length - 1).sum()}" for length in lengths)
    top = int(stream.lengths.argmax())
    return (
        f"{needed}; {(held > 0).sum()} of its {len(held)} documents reach that length and hold {held.sum()} windows. "
        f"The longest is {stream.names[top]} with {stream.lengths[top]:,} tokens. "
        f"Documents that reach {max_context or '128 tokens: 0'}. "
        "Ask for a shorter length or fewer windows, or choose a corpus with longer documents."
    )
