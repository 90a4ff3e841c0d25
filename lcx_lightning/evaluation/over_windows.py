"""An evaluation of windows of text: a subclass says what it measures, and computes it for a batch."""

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.results.metrics import Metric
from lcx_lightning.results.naming import snake_case
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OverWindows(AtMultiples):
    """Windows of text at each context length; a subclass has `metrics` and `score`.

    Every arm sees the same windows, and the windows of all lengths end at the same tokens. BOS stands at the front of
    each; nothing is cached between windows.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        windows: Number of windows, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no multiples or no windows.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        windows: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        self._multiples, self._windows = sorted(multiples), windows
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Return, by protocol/metric, how a report shows each number that `score` computes."""

    @abstractmethod
    def score(
        self, model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"], ahead: int
    ) -> dict[str, Float[Tensor, "rows scored"]]:
        """Return, by protocol/metric, a value for each scored token of each window; one column: for each window.

        Args:
            model: The model, on its device, with the method attached.
            ids: Windows of one length on the same device, in which the first `ahead` tokens are BOS.
            ahead: Tokens of BOS, which are not scored.
        """

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        served = self.served(pretrain_length, max_context)
        if not served:
            return []
        longest = self.lengths(pretrain_length)[-1]
        windows = data.evaluation_windows(self._split, longest, self._windows, self._seed)
        return [
            self._work_unit(data, batch, length)
            for length in served
            for batch in batches(windows, length, self._batch_tokens)
        ]

    def _work_unit(self, data: LongContextData, windows: list[Window], length: int) -> WorkUnit:
        rows = [self._row(name, data, window, length) for window in windows for name in self.metrics()]
        return WorkUnit(rows, partial(self._compute, data=data, windows=windows, rows=rows), one_batch(windows, length))

    def _row(self, name: str, data: LongContextData, window: Window, length: int) -> Record:
        protocol, _, metric = name.rpartition("/")
        return {
            "evaluation": snake_case(type(self).__name__),
            "protocol": protocol,
            "dataset": f"{data.corpus.name}/{window.split}",
            "document": window.document,
            "context_length": length,
            "metric": metric,
            "at": {"window": window.end},
        }

    @torch.inference_mode()
    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], rows: list[Record]
    ) -> list[Record]:
        ids = data.window_ids(windows, rows[0]["context_length"]).to(model.device)
        names = list(self.metrics())
        scores = {name: values.cpu().double() for name, values in self.score(model, ids, data.ahead).items()}
        if scores.keys() != set(names) or any(values.shape[:1] != (len(windows),) for values in scores.values()):
            shapes = {name: list(values.shape) for name, values in scores.items()}
            raise ValueError(
                f"score of {type(self).__name__} must return a tensor with {len(windows)} rows for each of "
                f"{', '.join(names)}, as its metrics say; it has returned {shapes}."
            )
        found = [scores[names[i % len(names)]][i // len(names)] for i in range(len(rows))]
        values = [{"n": one.numel(), "value": float(one.sum())} for one in found]
        return [row | value for row, value in zip(rows, values, strict=True)]
