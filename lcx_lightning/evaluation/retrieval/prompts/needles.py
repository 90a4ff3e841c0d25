"""Needles in a haystack: sentences that give values to keys, hidden in other text, and a question (arXiv:2305.16300).

The passkey of Position Interpolation (arXiv:2306.15595, section 3.3) and of LM-Infinite (arXiv:2308.16137), retrieval
from many keys (arXiv:2307.03172, section 4) and the needles of RULER (arXiv:2404.06654, section 3.1) are this task with
other words and numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.evaluation.retrieval.prompts.base import Place, Prompt, RetrievalTask
from lcx_lightning.evaluation.retrieval.prompts.haystack import Hay
from lcx_lightning.evaluation.retrieval.prompts.lines import Line, behind, check_count, line, opened, page, size
from lcx_lightning.evaluation.retrieval.prompts.placement import Layout, Offsets, among_lines, in_text
from lcx_lightning.evaluation.retrieval.prompts.random_values import Kind, Values
from lcx_lightning.schema.checked import checked, section


@dataclass(frozen=True)
class Wording:
    """The text of a prompt; {key} and {value} stand for the drawn ones."""

    opening: str  # lines before all others; empty if there are none
    needle: str
    question: str  # up to where the answer begins
    answer: str


@dataclass(frozen=True)
class Count:
    """How many needles there are."""

    keys: PositiveInt  # number of keys
    values: PositiveInt  # values of each key, with a needle for each
    asked: PositiveInt  # number of keys that are asked for, the first ones


class Needles(RetrievalTask):
    """Hide needles, each a line, and ask for the values of some of their keys.

    In a text they stand between any two tokens, and the text is cut to fill the prompt, to the token. Without a text
    they stand among as many lines like themselves, with other keys, as fit, after the end of one more such line.

    Args:
        wording: Text of a prompt.
        key: Kind of the keys.
        value: Kind of the values.
        count: Number of needles.
        hay: Text that the needles are hidden in. None to hide them among others like them.
        room: Tokens kept for a generated answer. None to score the answer token by token.

    Raises:
        ValueError: If more keys are asked for than there are, or there is no needle.
    """

    @checked
    def __init__(
        self,
        *,
        wording: Mapping[str, str],
        key: Kind,
        value: Kind,
        count: Mapping[str, int],
        hay: Hay | None,
        room: PositiveInt | None,
    ) -> None:
        self._wording, self._count = section(Wording, wording, "wording"), section(Count, count, "count")
        self._hay = hay
        self._key, self._value, self.room = Values(key), Values(value), room
        self.asks, self.split = str(self._value), hay.split if hay else None
        if self._count.asked > self._count.keys:
            raise ValueError(f"No more keys can be asked for than there are, got count={dict(count)}.")

    def prompt(self, data: LongContextData, length: int, place: Place, rng: np.random.Generator) -> Prompt:
        tokens, taken = data.tokens, (set[str](), set[str]())
        check_count(self._count.keys * self._count.values, length, "needles")
        keys = self._key.draw(rng, self._count.keys, taken[0])
        values = {key: self._value.draw(rng, self._count.values, taken[1]) for key in keys}
        asked = keys[: self._count.asked]
        wanted = tuple(value for key in asked for value in values[key])
        question = self._wording.question.format(key=listed(asked))
        answer = behind(tokens, question, self._wording.answer.format(value=listed(wanted)))
        room = self.room or len(answer)
        layout = Layout(
            ahead=opened(tokens, self._wording.opening.format(key=listed(asked))),
            needles=[self._needle(tokens, key, value) for key in keys for value in values[key]],
            question=line(tokens, question),
            tokens=length - room,
            answer=room,
        )

        def where(free: int) -> Offsets:
            offsets = rng.integers(free + 1, size=len(layout.needles))
            if place != Place():
                offsets[0] = self._offset(place, layout, free)
            return offsets

        if self._hay is None:
            lines = among_lines(layout, self._others(tokens, rng, taken), where)
        else:
            hay = self._hay
            lines = in_text(layout, lambda free: hay.text(data, free, rng), where)
        return Prompt(page(tokens, lines), np.asarray(answer, dtype=np.int64), wanted)

    def _offset(self, place: Place, layout: Layout, free: int) -> int:
        """Return the number of tokens or lines before the first needle, as near to the place as other lines allow."""
        if place.depth is not None:
            return round(place.depth * free)
        if place.distance is None or self._hay is None or len(layout.needles) > 1:
            raise ValueError(
                "A distance needs a single needle in a text: place several needles by depth, or at random."
            )
        return min(max(layout.tokens - place.distance - size(layout.ahead) - 2, 0), free)  # 2 line feeds

    def _needle(self, tokens: Tokens, key: str, value: str) -> list[int]:
        return line(tokens, self._wording.needle.format(key=key, value=value))

    def _others(self, tokens: Tokens, rng: np.random.Generator, taken: tuple[set[str], set[str]]) -> Iterator[Line]:
        """Yield needles of other keys and values, without end."""
        while True:
            (key,), (value,) = self._key.draw(rng, 1, taken[0]), self._value.draw(rng, 1, taken[1])
            yield self._needle(tokens, key, value)


def listed(items: tuple[str, ...] | list[str]) -> str:
    """Return the items as a sentence lists them: a, b, and c."""
    return ", and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
