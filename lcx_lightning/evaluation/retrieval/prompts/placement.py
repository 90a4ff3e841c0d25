"""Where the needles of a prompt go: between any two tokens of a text, or between the lines of a list."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lcx_lightning.evaluation.retrieval.prompts.lines import Line, check_fits, size

Offsets = Int[np.ndarray, " needles"]


class Layout(NamedTuple):
    """The lines of a prompt that are the same wherever the needles stand."""

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
    """Return lines that have, together, the tokens of the prompt: needles between pieces of a text.

    Args:
        layout: The other lines.
        text: Gives so many tokens.
        where: Gives, of how many tokens of text there are, those before each needle.
    """
    work_units: list[Line] = [[] for _ in range(len(layout.needles) + 1)]
    bare = [*layout.ahead, *_woven(work_units, layout.needles), layout.question]
    layout.check(bare)
    free = layout.tokens - size(bare)
    offsets = where(free)
    order = np.argsort(offsets, kind="stable")
    work_units = list(np.split(text(free), offsets[order]))
    return [*layout.ahead, *_woven(work_units, [layout.needles[i] for i in order]), layout.question]


def among_lines(layout: Layout, others: Iterator[Line], where: Callable[[int], Offsets]) -> list[Line]:
    """Return lines that have, together, the tokens of the prompt: needles between other lines, as many as fit.

    What is missing then is the end of one more, before them: a list of lines that begins earlier, cut to the token.

    Args:
        layout: The other lines.
        others: Gives one line after the other, without end.
        where: Gives, of how many other lines there are, those before each needle.
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


def _woven(work_units: list[Line], needles: list[Line]) -> list[Line]:
    """Return a piece, a needle, a piece and so on."""
    return [work_units[0], *(one for pair in zip(needles, work_units[1:], strict=True) for one in pair)]
