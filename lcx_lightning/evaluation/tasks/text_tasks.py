"""Tasks of text: a model writes an answer to each example, under one or several context lengths."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.evaluation.base import AtMultiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches
from lcx_lightning.evaluation.tasks.datasets.base import Example, ExampleSource
from lcx_lightning.evaluation.tasks.nucleus import Nucleus
from lcx_lightning.evaluation.tasks.task import TextTask
from lcx_lightning.models.generation import continuations

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextTasks(AtMultiples):
    """Every example of every task, its prompt cut to fit each context length, answered and scored; a row per score.

    A context length counts prompt and answer. Where two lengths give the same prompt it is answered once.

    Args:
        name: Of evaluation and protocol in records.
        source: Of the examples.
        tasks: By name how a task asks and is scored: arguments of `Task`, those of `every_task` being the same for all.
        every_task: What tasks share.
        chosen: Names of the tasks to evaluate; None: all.
        examples: Of each task, the first ones; None: all.
        multiples: Context lengths in units of the pretraining length L.
        sampling: temperature, top_p and seed of `Nucleus`; None takes the most probable token.
        batch_tokens: Tokens of a batch.
        chunk: Tokens of a prompt that are read at once.

    Raises:
        ValueError: If a chosen task is unknown, or there are no tasks, examples or multiples.
    """

    def __init__(  # noqa: PLR0913, each is a value of the protocol
        self,
        *,
        name: str,
        source: ExampleSource,
        tasks: Mapping[str, Mapping[str, Any]],
        every_task: Mapping[str, Any],
        chosen: Sequence[str] | None,
        examples: int | None,
        multiples: Sequence[float],
        sampling: Mapping[str, Any] | None,
        batch_tokens: int,
        chunk: int,
    ) -> None:
        names = list(tasks) if chosen is None else list(chosen)
        if not set(names) <= set(tasks) or not names:
            unknown = ", ".join(one for one in names if one not in tasks) or "none at all"
            raise ValueError(f"evaluation.{name}.chosen has {unknown}; choose from {', '.join(tasks)}.")
        if sampling:
            Nucleus(**sampling, names=[])  # as a check
        if not multiples or min(multiples) <= 0 or (examples is not None and examples < 1) or chunk < 1:
            raise ValueError(
                f"{name} needs multiples of the pretraining length, examples >= 1 or null, and chunk >= 1, got "
                f"multiples={list(multiples)}, {examples=}, {chunk=}."
            )
        self._name, self._source, self._sampling = name, source, sampling
        self._tasks = {task: TextTask(**{**every_task, **tasks[task]}) for task in names}
        self._examples, self._multiples = examples, sorted(multiples)
        self._batch_tokens, self._chunk = batch_tokens, chunk
        self._read: dict[str, list[Example]] = {}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        served = self.served(pretrain_length, max_context)
        return [
            WorkUnit(
                [row for n in served for one in batch for row in self._rows(task, one, n)],
                partial(self._compute, tokens=data.tokens, task=task, batch=batch, lengths=served),
            )
            for task in self._tasks
            for batch in self._batches(task, served)
        ]

    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        served = self.served(pretrain_length, max_context)
        batches = [batch for task in self._tasks for batch in self._batches(task, served)]
        texts, rows = sum(map(len, batches)), max(map(len, batches), default=0)
        return [Reading(texts, n, rows, self._chunk) for n in served]

    def _batches(self, task: str, served: list[int]) -> Iterator[list[Example]]:
        """Yield the examples of a task in batches."""
        if task not in self._read:
            self._read[task] = self._source.read(task)[: self._examples]
        if served:
            yield from batches(self._read[task], served[-1], self._batch_tokens)

    def _rows(self, task: str, example: Example, length: int) -> list[Record]:
        asked, source = self._tasks[task], self._source.name
        shared = {
            "evaluation": self._name,
            "protocol": self._name,
            "dataset": source if task == source else f"{source}/{task}",
            "document": example.name,
            "window": 0,
            "context_length": length,
        }
        also = {"n": 1, "task": task, "group": asked.group, "answer_tokens": asked.answer_tokens(length)}
        return [{**shared, "metric": metric, **also, "score": score} for metric, score in asked.metrics.items()]

    def _compute(
        self, model: "PreTrainedModel", tokens: Tokens, task: str, batch: list[Example], lengths: list[int]
    ) -> list[Record]:
        asked, rows, known = self._tasks[task], [], {}
        for length in lengths:
            prompts = {one.name: (tuple(asked.ids(one, tokens, length)), asked.answer_tokens(length)) for one in batch}
            new = [name for name, prompt in prompts.items() if (name, *prompt) not in known]
            for name, answer in zip(new, self._answers(model, tokens, task, {n: prompts[n] for n in new}), strict=True):
                known[name, *prompts[name]] = asked.prediction(answer)
            for one in batch:
                prediction = known[one.name, *prompts[one.name]]
                told = {"prompt_tokens": len(prompts[one.name][0]), "prediction": prediction}
                for row in self._rows(task, one, length):
                    rows.append({**row, "value": asked.score(row["metric"], prediction, one), **told})
        return rows

    def _answers(
        self, model: "PreTrainedModel", tokens: Tokens, task: str, prompts: dict[str, tuple[tuple[int, ...], int]]
    ) -> list[str]:
        """Return what the model writes after each prompt, by name with the most tokens of its answer."""
        if not prompts:
            return []
        names = [f"{task}/{name}" for name in prompts]
        found = continuations(
            model,
            [ids for ids, _ in prompts.values()],
            max(most for _, most in prompts.values()),
            chunk=self._chunk,
            ends=self._tasks[task].ends(tokens),
            sampling=Nucleus(**self._sampling, names=names) if self._sampling else None,
        )
        return [tokens.decode([token for token in ids if token not in tokens.special]) for ids in found]
