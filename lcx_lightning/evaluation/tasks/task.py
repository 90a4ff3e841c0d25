"""A task of text: its prompt, cut to fit a context, and its answer, cut out of what a model wrote."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import PositiveInt

from lcx_lightning.data.chat import check_arguments
from lcx_lightning.data.tokenizers import Tokens, has_line_feed, line_feed
from lcx_lightning.evaluation.tasks.datasets.base import Example
from lcx_lightning.evaluation.tasks.scoring import SCORES, score
from lcx_lightning.schema.checked import checked

SHARE = 4  # an answer takes a quarter of a context at most


class TextTask:
    """How one task asks and how it is scored.

    Args:
        prompt: Text of the prompt, with {context}, {input} ... in place of an example's fields.
        answer_tokens: Largest number of tokens of an answer, which is also at most a quarter of the context.
        metrics: Scores, from `scoring.SCORES`, by the metric's name in records.
        cut: What is cut from a prompt that is too long. middle: the tokens in its middle. end_of_context: the last
            tokens of the field `context`, so that the instructions stay whole.
        chat: Whether the prompt is put into the tokenizer's chat template, if it has one.
        chat_arguments: Arguments of the template. By convention `enable_thinking: false` asks for an answer at once; a
            template that does not know an argument ignores it.
        one_line: Whether the answer ends with its line.
        first_line: Whether only the first line is scored, without line feeds before it.
        tag: Name of the tag that encloses the answer; the prompt ends with <tag>. None if there is no tag.
        group: Group of tasks that are averaged together. None if there is no group.

    Attributes:
        chat_arguments: Arguments of the chat template, or None if it is not used.

    Raises:
        ValueError: If a cut or a score is unknown, the answer has no tokens, or an argument is not for the template.
    """

    @checked
    def __init__(  # noqa: PLR0913, each is a value of the protocol
        self,
        *,
        prompt: str,
        answer_tokens: PositiveInt,
        metrics: Annotated[Mapping[str, str], MinLen(1)],
        cut: Literal["middle", "end_of_context"],
        chat: bool,
        chat_arguments: Mapping[str, Any],
        one_line: bool,
        first_line: bool,
        tag: str | None,
        group: str | None,
    ) -> None:
        unknown = sorted(set(metrics.values()) - set(SCORES))
        if unknown:
            raise ValueError(f"A task needs metrics from {', '.join(SCORES)}; got metrics={dict(metrics)}.")
        self.metrics, self.group, self._prompt, self._answer_tokens = dict(metrics), group, prompt, answer_tokens
        self._cut, self._one_line, self._first_line, self._tag = cut, one_line, first_line, tag
        check_arguments(chat_arguments)
        self.chat_arguments = dict(chat_arguments) if chat else None

    def answer_tokens(self, length: int) -> int:
        """Return the largest number of tokens of an answer in a context of `length` tokens."""
        return min(self._answer_tokens, length // SHARE)

    def check_chat(self, tokens: Tokens) -> None:
        """Raise a ValueError if the tokenizer has a chat template that fails, or leaves out or changes a message."""
        self._asked("message", tokens)

    def ends(self, tokens: Tokens) -> list[int]:
        """Return tokens that end an answer, in addition to those that end any text of the model."""
        return [line_feed(tokens)] if self._one_line and has_line_feed(tokens) else []

    def ids(self, example: Example, tokens: Tokens, length: int) -> list[int]:
        """Return the prompt, behind BOS or in a chat, that leaves room for the answer in a context of `length` tokens.

        Raises:
            ValueError: If it does not fit even when all is cut that may be cut.
        """
        room = length - self.answer_tokens(length)
        cut_to = self._middle_cut if self._cut == "middle" else self._context_cut
        whole, shorter = cut_to(example, tokens)
        ids, kept = self._asked(shorter(whole), tokens), whole
        while len(ids) > room:
            if kept == 0:
                raise ValueError(
                    f"A prompt must leave room for its answer: that of {example.name} has {len(ids)} tokens without "
                    f"what may be cut, and a context of {length} has room for {room}. Raise multiples."
                )
            kept = max(0, min(kept - (len(ids) - room), room))
            ids = self._asked(shorter(kept), tokens)
        return ids

    def score(self, metric: str, prediction: str, example: Example) -> float:
        """Return the score, 0 to 1, of a prediction."""
        return score(self.metrics[metric], prediction, example.answers, example.classes)

    def prediction(self, text: str) -> str:
        """Return the answer in what a model wrote."""
        if self._tag is not None:
            text = text.split(f"<{self._tag}>", 1)[-1].split(f"</{self._tag}>", 1)[0].strip()
        return text.lstrip("\n").split("\n")[0] if self._first_line else text

    def _asked(self, text: str, tokens: Tokens) -> list[int]:
        chat = None if self.chat_arguments is None else tokens.chat(text, self.chat_arguments)
        ids = [*tokens.prefix, *tokens.encode(text)] if chat is None else chat  # which begins as it is to begin
        return ids if self._tag is None else [*ids, *tokens.encode(f"<{self._tag}>")]

    def _middle_cut(self, example: Example, tokens: Tokens) -> tuple[int, Callable[[int], str]]:
        """Return the number of tokens of the prompt, and a function: number of tokens to keep -> shorter prompt."""
        text = self._prompt.format(**example.fields)
        ids = tokens.encode(text)

        def shorter(kept: int) -> str:
            half = kept // 2
            ends = tokens.decode(ids[:half]), tokens.decode(ids[len(ids) - half :])
            return text if kept == len(ids) else "".join(ends)

        return len(ids), shorter

    def _context_cut(self, example: Example, tokens: Tokens) -> tuple[int, Callable[[int], str]]:
        """Return the number of tokens of the context, and a function: number of tokens to keep -> shorter prompt."""
        ids = tokens.encode(example.fields["context"])

        def shorter(kept: int) -> str:
            context = example.fields["context"] if kept == len(ids) else tokens.decode(ids[:kept])
            return self._prompt.format(**{**example.fields, "context": context})

        return len(ids), shorter
