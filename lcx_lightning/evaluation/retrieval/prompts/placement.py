"""Where the needles of a prompt go: between any two tokens of a text, or between the lines of a list."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.evaluation.retrieval.prompts.lines import Line, check_fits, size

Offsets = Int[np.ndarray, " needles"]


class Layout(NamedTuple):
    """The lines of a prompt that do not depend on where the needles stand."""

    ahead: list[Line]
    needles: list[Line]
    question: Line
    tokens: int  # of the prompt
    answer: int  # tokens kept for the answer

    def check(self, lines: list[Line]) -> None:
        """Raise a ValueError if these lines alone are longer than the prompt."""
        what = (
            f"{size(self.ahead)} of BOS and the opening, {sum(map(len, self.needles))} of {len(self.needles)} needles, "
            f"{len(self.question)} of the question, {self.answer} of the answer, and line feeds"
        )
        check_fits(size(lines) + self.answer, self.tokens + self.answer, what)


def in_text(
    layout: Layout, text: Callable[[int], Int[np.ndarray, " tokens"]], where: Callable[[int], Offsets]
) -> list[Line]:
    """Return lines that together have the tokens of the prompt: needles between parts of a text.

    Args:
        layout: The other lines.
        text: Returns text of a given number of tokens.
        where: Returns, from the number of tokens of text, the number of those before each needle.
    """
    parts: list[Line] = [[] for _ in range(len(layout.needles) + 1)]
    bare = [*layout.ahead, *_woven(parts, layout.needles), layout.question]
    layout.check(bare)
    free = layout.tokens - size(bare)
    offsets = where(free)
    order = np.argsort(offsets, kind="stable")
    parts = list(np.split(text(free), offsets[order]))
    return [*layout.ahead, *_woven(parts, [layout.needles[i] for i in order]), layout.question]


def among_lines(layout: Layout, others: Iterator[Line], where: Callable[[int], Offsets]) -> list[Line]:
    """Return lines that together have the tokens of the prompt: needles between as many other lines as fit.

    The tokens that are missing then are filled with the end of one more line, before the others, as if the list began
    earlier and were cut to the token.

    Args:
        layout: The lines that the prompt needs.
        others: Yields one other line after another, without end.
        where: Returns, from the number of other lines, the number of those before each needle.
    """
    bare = [*layout.ahead, *layout.needles, layout.question]
    layout.check(bare)
    free, body, cut = layout.tokens - size(bare), [], []
    for one in others:
        if len(one) + 1 > free:
            cut = [one[len(one) - free + 1 :]] if free else []
            break
        free -= len(one) + 1
        body.append(one)
    offsets = where(len(body))
    for i in np.argsort(offsets, kind="stable")[::-1]:
        body.insert(int(offsets[i]), layout.needles[i])
    return [*layout.ahead, *cut, *body, layout.question]


def _woven(parts: list[Line], needles: list[Line]) -> list[Line]:
    """Return a part of text, a needle, a part of text and so on."""
    return [parts[0], *(one for pair in zip(needles, parts[1:], strict=True) for one in pair)]
