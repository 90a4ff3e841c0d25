"""Quality of generation by position: what a model writes after a milestone, compared with how the text goes on."""

from functools import partial
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.tasks.scoring import METRICS, bleu, score
from lcx_lightning.models.generation import continuations
from lcx_lightning.results.metrics import Metric
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHOSEN = ("bleu", "rouge_l")


class Milestones(AtMultiples):
    """Protocol `milestones` (LM-Infinite, arXiv:2308.16137, table 3): BLEU and ROUGE-L of the most probable tokens.

    The prompt is BOS and the text up to a milestone. The reference is the text's next tokens, as many as are generated:
    a different one at each milestone. A context length is that of the prompt; a method must reach beyond it.

    Args:
        multiples: Milestones in units of the pretraining length L.
        new_tokens: Largest number of tokens generated after each milestone.
        windows: Number of texts, from different documents as far as there are enough.
        split: Split of the corpus.
        seed: Seed for choosing the windows.
        batch_tokens: Tokens of a batch.
        chunk: Tokens of a prompt that are read at once.

    Raises:
        ValueError: If there are no multiples or no windows, or `new_tokens` or `chunk` is below 1.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        new_tokens: PositiveInt,
        windows: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
        chunk: PositiveInt,
    ) -> None:
        self._multiples, self._new_tokens, self._windows = sorted(multiples), new_tokens, windows
        self._split, self._seed, self._batch_tokens, self._chunk = split, seed, batch_tokens, chunk

    def served(self, pretrain_length: int, max_context: int | None) -> list[int]:
        """Return the milestones after which a method has room for the new tokens, shortest first."""
        return [n for n in self.lengths(pretrain_length) if max_context is None or n + self._new_tokens <= max_context]

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        longest = self.lengths(pretrain_length)[-1] + self._new_tokens
        windows = data.evaluation_windows(self._split, longest, self._windows, self._seed)
        work_units = []
        for length in self.served(pretrain_length, max_context):
            whole = length + self._new_tokens
            for batch in batches(windows, whole, self._batch_tokens):
                rows = [self._row(data, window, length, metric) for window in batch for metric in CHOSEN]
                compute = partial(self._compute, data=data, windows=batch, longest=longest, length=length)
                work_units.append(WorkUnit(rows, compute, one_batch(batch, whole, self._chunk)))
        return work_units

    def metrics(self) -> dict[str, Metric]:
        return {f"milestones/{name}": METRICS[name] for name in CHOSEN}

    def _row(self, data: LongContextData, window: Window, length: int, metric: str) -> Record:
        return {
            "evaluation": "milestones",
            "protocol": "milestones",
            "dataset": f"{data.corpus.name}/{self._split}",
            "document": window.document,
            "context_length": length,
            "metric": metric,
            "n": 1,
            "at": {"window": window.end},
            "details": {"new_tokens": self._new_tokens},
        }

    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], longest: int, length: int
    ) -> list[Record]:
        texts = data.window_ids(windows, longest).tolist()
        found = continuations(model, [ids[:length] for ids in texts], self._new_tokens, chunk=self._chunk)
        rows = []
        for window, ids, written in zip(windows, texts, found, strict=True):
            reference = data.tokens.decode(ids[length : length + self._new_tokens])
            prediction = data.tokens.decode([token for token in written if token not in data.tokens.special])
            parts = bleu(prediction, reference)
            values = {"bleu": parts.pop("value"), "rouge_l": score("rouge_l", prediction, [reference], [])}
            for metric in CHOSEN:
                row = self._row(data, window, length, metric)
                details = row["details"] | (parts if metric == "bleu" else {}) | {"prediction": prediction}
                rows.append(row | {"value": values[metric], "details": details})
        return rows
