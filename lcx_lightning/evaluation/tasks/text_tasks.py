"""Tasks of text: a model writes an answer to each example, in contexts of one or several lengths."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from lcx_lightning.data.chat import TODAY
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Reading, Record, WorkUnit, hash_of
from lcx_lightning.evaluation.batching import batches
from lcx_lightning.evaluation.tasks.datasets.base import Example, ExampleSource
from lcx_lightning.evaluation.tasks.nucleus import Nucleus
from lcx_lightning.evaluation.tasks.scoring import METRICS
from lcx_lightning.evaluation.tasks.task import TextTask
from lcx_lightning.models.generation import continuations
from lcx_lightning.results.metrics import Metric, percentage
from lcx_lightning.schema.checked import checked, checked_arguments, section

if TYPE_CHECKING:
    from transformers import PreTrainedModel

USUAL_CHAT = {"enable_thinking": False}  # arguments of a chat template that no record's protocol names


class TextTasks(AtMultiples):
    """Every example of every task, its prompt cut to fit each context length, answered and scored; a row per score.

    A context length counts prompt and answer. If two lengths give the same prompt, it is answered once. The protocol of
    a task in records is the evaluation's name, followed by arguments of the chat template that are not those of
    USUAL_CHAT: `longbench_enable_thinking_true`. The details have all of them, and the date that a template is told.

    Args:
        name: Name of evaluation and protocol in records.
        source: Source of the examples.
        tasks: Arguments of `TextTask` by name of the task: how it asks and is scored.
        every_task: Arguments that all tasks share.
        chosen: Names of the tasks to evaluate. None for all.
        examples: Number of examples of each task, the first ones. None for all.
        multiples: Context lengths in units of the pretraining length L.
        sampling: temperature, top_p and seed of `Nucleus`. None to take the most probable token.
        batch_tokens: Tokens of a batch.
        chunk: Tokens of a prompt that are read at once.

    Raises:
        ValueError: If a chosen task is unknown, or there are no tasks, examples or multiples.
    """

    @checked
    def __init__(  # noqa: PLR0913, each is a value of the protocol
        self,
        *,
        name: str,
        source: ExampleSource,
        tasks: Mapping[str, Mapping[str, Any]],
        every_task: Mapping[str, Any],
        chosen: Sequence[str] | None,
        examples: PositiveInt | None,
        multiples: Multiples,
        sampling: Mapping[str, Any] | None,
        batch_tokens: PositiveInt,
        chunk: PositiveInt,
    ) -> None:
        names = list(tasks) if chosen is None else list(chosen)
        if not set(names) <= set(tasks) or not names:
            unknown = ", ".join(one for one in names if one not in tasks) or "none at all"
            raise ValueError(f"evaluation.{name}.chosen has {unknown}; choose from {', '.join(tasks)}.")
        if sampling:
            checked_arguments(Nucleus, sampling, "sampling", given_later=("names",))
        self._name, self._source, self._sampling = name, source, sampling
        self._tasks = {task: section(TextTask, {**every_task, **tasks[task]}, f"tasks.{task}") for task in names}
        self._examples, self._multiples = examples, sorted(multiples)
        self._batch_tokens, self._chunk = batch_tokens, chunk
        self._read: dict[str, list[Example]] = {}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        served, work_units = self.served(pretrain_length, max_context), []
        for task, asked in self._tasks.items():
            asked.check_chat(data.tokens)
            for batch in self._batches(task, served):
                rows = [row for n in served for one in batch for row in self._rows(task, one, n)]
                compute = partial(self._compute, tokens=data.tokens, task=task, batch=batch, lengths=served)
                reads = [Reading(len(batch), n, len(batch), self._chunk) for n in served]
                work_units.append(WorkUnit(rows, compute, reads))
        return work_units

    def examples_identity(self) -> str:
        return hash_of({task: [asdict(one) for one in self._examples_of(task)] for task in self._tasks})

    def metrics(self) -> dict[str, Metric]:
        names = dict.fromkeys((self._protocol(task), name) for task in self._tasks.values() for name in task.metrics)
        return {
            f"{protocol}/{name}": METRICS.get(name) or percentage(name.replace("_", " ")) for protocol, name in names
        }

    def _protocol(self, task: TextTask) -> str:
        asked = {key: value for key, value in (task.chat_arguments or {}).items() if USUAL_CHAT.get(key) != value}
        unusual = "".join(f"_{key}_{value}" for key, value in sorted(asked.items()))
        return self._name + re.sub(r"[^\w.]+", "_", unusual).lower()

    def _batches(self, task: str, served: list[int]) -> Iterator[list[Example]]:
        """Yield the examples of a task in batches."""
        if served:
            yield from batches(self._examples_of(task), served[-1], self._batch_tokens)

    def _examples_of(self, task: str) -> list[Example]:
        if task not in self._read:
            self._read[task] = self._source.read(task)[: self._examples]
        return self._read[task]

    def _rows(self, task: str, example: Example, length: int) -> list[Record]:
        asked, source = self._tasks[task], self._source.name
        row = {
            "evaluation": self._name,
            "protocol": self._protocol(asked),
            "dataset": source if task == source else f"{source}/{task}",
            "document": example.name,
            "context_length": length,
            "n": 1,
            "at": {"task": task} | ({} if asked.group is None else {"group": asked.group}),
        }
        details: Record = {"answer_tokens": asked.answer_tokens(length)}
        if asked.chat_arguments is not None:
            details |= {"chat_arguments": asked.chat_arguments, "chat_date": TODAY.isoformat()}
        return [
            row | {"metric": metric, "details": details | {"score": score}} for metric, score in asked.metrics.items()
        ]

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
                outcome = {"prompt_tokens": len(prompts[one.name][0]), "prediction": prediction}
                for row in self._rows(task, one, length):
                    value = asked.score(row["metric"], prediction, one)
                    rows.append(row | {"value": value, "details": row["details"] | outcome})
        return rows

    def _answers(
        self, model: "PreTrainedModel", tokens: Tokens, task: str, prompts: dict[str, tuple[tuple[int, ...], int]]
    ) -> list[str]:
        """Return what the model writes after each prompt.

        Args:
            model: The model, on its device.
            tokens: Tokenizer of the model.
            task: Name of the task.
            prompts: Tokens of a prompt and largest number of tokens of its answer, by name of the example.
        """
        if not prompts:
            return []
        names = [f"{task}/{name}" for name in prompts]
        found = continuations(
            model,
            [ids for ids, _ in prompts.values()],
            max(answer_tokens for _, answer_tokens in prompts.values()),
            chunk=self._chunk,
            ends=self._tasks[task].ends(tokens),
            sampling=Nucleus(**self._sampling, names=names) if self._sampling else None,
        )
        return [tokens.decode([token for token in ids if token not in tokens.special]) for ids in found]
