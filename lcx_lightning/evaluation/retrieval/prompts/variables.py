"""Variable tracking: which variables hold a value that is passed from one to the next? (RULER, arXiv:2404.06654.)"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from pydantic import PositiveInt

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.retrieval.prompts.base import Place, Prompt, RetrievalTask
from lcx_lightning.evaluation.retrieval.prompts.lines import behind, check_count, line, opened, page
from lcx_lightning.evaluation.retrieval.prompts.placement import Layout, Offsets, among_lines
from lcx_lightning.evaluation.retrieval.prompts.random_values import Kind, Values
from lcx_lightning.schema.checked import checked, section


@dataclass(frozen=True)
class Wording:
    """The text of a prompt; {value}, {name}, {other}, {names} and {count} stand for the drawn ones."""

    opening: str
    first: str  # a variable gets the value
    next: str  # a variable gets the value of another one
    noise: str  # the line that is repeated between them
    question: str  # up to where the answer begins
    answer: str


class VariableTracking(RetrievalTask):
    """Hide chains of assignments, in their order, between lines of noise, and ask for all names of the first chain.

    Before them stand a solved prompt with few lines of noise, and the end of one more line of noise.

    Args:
        wording: Text of a prompt.
        name: Kind of the names.
        value: Kind of the values.
        chains: Number of chains of assignments, each with a value of its own.
        hops: Number of assignments of a chain after the first.
        example: Number of lines of noise in the solved prompt. None to leave it out.
        room: Tokens kept for the generated answer.
    """

    @checked
    def __init__(
        self,
        *,
        wording: Mapping[str, str],
        name: Kind,
        value: Kind,
        chains: PositiveInt,
        hops: PositiveInt,
        example: PositiveInt | None,
        room: PositiveInt,
    ) -> None:
        self._wording, self._name, self._value = section(Wording, wording, "wording"), Values(name), Values(value)
        self._chains, self._hops, self._example, self._room = chains, hops, example, room
        self.room, self.asks, self.split = room, f"{hops + 1} variables", None

    def prompt(self, data: LongContextData, length: int, place: Place, rng: np.random.Generator) -> Prompt:
        if place != Place():
            raise ValueError("The variables of a chain stand at random places: leave out depths and distances.")
        check_count(self._chains * (self._hops + 1) + (self._example or 0), length, "assignments and lines")
        tokens, taken = data.tokens, set[str]()
        example = self._solved(rng, taken)
        assignments, names, question = self._drawn(rng, taken)
        layout = Layout(
            ahead=opened(tokens, example + self._wording.opening),
            needles=[line(tokens, text) for text in assignments],
            question=line(tokens, question),
            tokens=length - self._room,
            answer=self._room,
        )
        noise = repeat(line(tokens, self._wording.noise))
        lines = among_lines(layout, noise, lambda free: self._places(rng, free))
        answer = behind(tokens, question, self._wording.answer.format(names=" ".join(names)))
        return Prompt(page(tokens, lines), np.asarray(answer, dtype=np.int64), tuple(names))

    def _drawn(self, rng: np.random.Generator, taken: set[str]) -> tuple[list[str], list[str], str]:
        """Return the assignments, chain after chain, the names of the first chain, and the question for them."""
        wording, assignments = self._wording, []
        chains = [self._name.draw(rng, self._hops + 1, taken) for _ in range(self._chains)]
        values = self._value.draw(rng, self._chains, taken)
        for names, value in zip(chains, values, strict=True):
            assignments.append(wording.first.format(name=names[0], value=value))
            pairs = zip(names[1:], names[:-1], strict=True)
            assignments += [wording.next.format(name=name, other=other) for name, other in pairs]
        return assignments, chains[0], wording.question.format(value=values[0], count=self._hops + 1)

    def _places(self, rng: np.random.Generator, free: int) -> Offsets:
        """Return the number of lines before each assignment, ascending within a chain."""
        drawn = rng.integers(free + 1, size=(self._chains, self._hops + 1))
        return np.sort(drawn, axis=1).ravel()

    def _solved(self, rng: np.random.Generator, taken: set[str]) -> str:
        """Return the text of a solved prompt, with a blank line after it; an empty text if there is none."""
        if self._example is None:
            return ""
        assignments, names, question = self._drawn(rng, taken)
        lines = [self._wording.noise] * self._example
        offsets = self._places(rng, self._example)
        for i in np.argsort(offsets, kind="stable")[::-1]:
            lines.insert(int(offsets[i]), assignments[i])
        answer = self._wording.answer.format(names=" ".join(names))
        return "\n".join([self._wording.opening, *lines, question + answer, "", ""])
