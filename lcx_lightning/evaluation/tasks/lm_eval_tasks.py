"""Any task of the lm-evaluation-harness, with a row per example: BoolQ, PIQA, RACE, WinoGrande and so on."""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import MinLen
from lm_eval.api.metrics import mean
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.hub_access import look_for_hub
from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.evaluation.base import Evaluation, Reading, Record, WorkUnit, hash_of
from lcx_lightning.evaluation.batching import rows_at_once
from lcx_lightning.evaluation.tasks.lm_eval_model import LMEvalModel
from lcx_lightning.evaluation.tasks.scoring import METRICS
from lcx_lightning.results.metrics import Metric
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMES = {"acc": "accuracy", "acc_norm": "accuracy_by_length"}  # in records; other metrics keep the harness's names


class LMEvalTasks(Evaluation):
    """Tasks of the harness in texts of one length, with those of their metrics that are means over examples.

    Args:
        tasks: Names of tasks or groups.
        folder: Folder with YAML files of your own tasks. None if there is none.
        examples: Number of examples of each task, the first ones. None for all.
        shots: Number of worked examples in a prompt. None to take what each task says.
        multiple: Length of the longest text in units of the pretraining length. Of a longer text the end is kept.
        seed: Seed for choosing the worked examples.
        batch_tokens: Tokens of a batch.
        chunk: Tokens of a prompt that are read at once.

    Raises:
        ValueError: If there are no tasks or examples, or a task is unknown or has no metric that is a mean.
    """

    @checked
    def __init__(
        self,
        *,
        tasks: Annotated[Sequence[str], MinLen(1)],
        folder: str | None,
        examples: PositiveInt | None,
        shots: NonNegativeInt | None,
        multiple: PositiveFloat,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
        chunk: PositiveInt,
    ) -> None:
        self._names, self._folder, self._examples, self._shots = list(tasks), folder, examples, shots
        self._multiple, self._seed, self._batch_tokens, self._chunk = multiple, seed, batch_tokens, chunk
        self._loaded: dict[str, Any] = {}

    def lengths(self, pretrain_length: int) -> list[int]:
        return [round(self._multiple * pretrain_length)]

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        work_units = []
        for length in self.served(pretrain_length, max_context):
            for task in self._tasks():
                numbers, keys = self._numbers(task), self._metrics(task)
                rows = [self._row(task, number, key, length) for number in numbers for key in keys]
                compute = partial(self._compute, tokens=data.tokens, task=task, length=length, rows=rows)
                at_once = rows_at_once(len(numbers), length, self._batch_tokens)
                work_units.append(WorkUnit(rows, compute, [Reading(len(numbers), length, at_once, None)]))
        return work_units

    def examples_identity(self) -> str:
        """Return a hash of all examples that a prompt may have, of the tasks' settings and the harness's version."""
        parts = [version("lm_eval")]
        for name, task in self._tasks().items():
            docs = [task.eval_docs[number] for number in self._numbers(name)]
            shown = list(task.fewshot_docs()) if self._shots_of(task) else []
            parts += [name, docs, shown, task.dump_config()]
        return hash_of(*parts)

    def metrics(self) -> dict[str, Metric]:
        return {"harness/accuracy": METRICS["accuracy"]}

    def _tasks(self) -> dict[str, Any]:
        """Return the tasks by name, with groups replaced by their tasks."""
        if not self._loaded:
            look_for_hub()
            self._loaded = self._manager().load(self._names)["tasks"]
        return self._loaded

    def _manager(self) -> TaskManager:
        """Return the manager of the folder if it knows all tasks, as reading the harness's own takes seconds."""
        if self._folder is not None:
            manager = TaskManager(include_path=self._folder, include_defaults=False)
            if set(self._names) <= set(manager.all_tasks):
                return manager
        manager = TaskManager(include_path=self._folder)
        unknown = [name for name in self._names if name not in manager.all_tasks]
        if unknown:
            raise ValueError(
                f"The harness has no task {', '.join(unknown)}: `lm-eval ls tasks` lists those that it has, and "
                "evaluation.harness.folder is the folder of your own."
            )
        return manager

    def _shots_of(self, task: Any) -> int:
        return task.get_config("num_fewshot") or 0 if self._shots is None else self._shots

    def _numbers(self, task: str) -> range:
        count = len(self._tasks()[task].eval_docs)
        return range(count if self._examples is None else min(count, self._examples))

    def _metrics(self, task: str) -> list[tuple[str, str]]:
        """Return metric and filter of each score of an example."""
        found = self._tasks()[task]
        filters = [one.name for one in found._filters]
        keys = [(name, chosen) for chosen in filters for name, whole in found.aggregation().items() if whole is mean]
        if not keys:
            raise ValueError(
                f"Records need a score of each example, and the task {task} has none: choose another task."
            )
        return keys

    def _row(self, task: str, number: int, key: tuple[str, str], length: int) -> Record:
        metric, chosen = key
        return {
            "evaluation": "harness",
            "protocol": "harness",
            "dataset": f"harness/{task}",
            "document": f"{task} {number}",
            "context_length": length,
            "metric": NAMES.get(metric, metric) + ("" if chosen == "none" else f", {chosen}"),
            "n": 1,
            "at": {"task": task},
            "details": {"shots": self._shots_of(self._tasks()[task])},
        }

    def _compute(
        self, model: "PreTrainedModel", tokens: Tokens, task: str, length: int, rows: list[Record]
    ) -> list[Record]:
        attached = LMEvalModel(model, tokens, length=length, batch_tokens=self._batch_tokens, chunk=self._chunk)
        asked = self._tasks()[task]
        asked.set_config(key="num_fewshot", value=self._shots_of(asked))
        asked.set_fewshot_seed(seed=self._seed)
        chosen: Any = {"tasks": {task: asked}, "groups": {}, "group_map": {}}
        found: Any = evaluate(attached, chosen, limit=self._examples, bootstrap_iters=0)
        samples = {(sample["doc_id"], sample["filter"]): sample for sample in found["samples"][task]}
        scores = [float(samples[n, key[1]][key[0]]) for n in self._numbers(task) for key in self._metrics(task)]
        return [row | {"value": value} for row, value in zip(rows, scores, strict=True)]
