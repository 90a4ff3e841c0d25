"""What an extension costs where there was nothing to extend: perplexity of the original window."""

from functools import partial
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import Evaluation, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ShortContext(Evaluation):
    """Protocol `original_window`: all tokens after BOS of windows as long as the pretraining length, in one pass each.

    Args:
        windows: Number of windows, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no windows.
    """

    @checked
    def __init__(self, *, windows: PositiveInt, split: Split, seed: NonNegativeInt, batch_tokens: PositiveInt) -> None:
        self._windows, self._split, self._seed, self._batch_tokens = windows, split, seed, batch_tokens

    def lengths(self, pretrain_length: int) -> list[int]:
        return [pretrain_length]

    def metrics(self) -> dict[str, Metric]:
        return {"original_window/nll": perplexity()}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        if not self.served(pretrain_length, max_context):
            return []
        windows = data.evaluation_windows(self._split, pretrain_length, self._windows, self._seed)
        return [
            self._work_unit(data, batch, pretrain_length)
            for batch in batches(windows, pretrain_length, self._batch_tokens)
        ]

    def _work_unit(self, data: LongContextData, windows: list[Window], length: int) -> WorkUnit:
        rows = [
            nll_row("short_context", "original_window", data, window, length=length, n=length - data.ahead)
            for window in windows
        ]
        return WorkUnit(rows, partial(_compute, data=data, windows=windows, rows=rows), one_batch(windows, length))


def _compute(
    model: "PreTrainedModel", data: LongContextData, windows: list[Window], rows: list[Record]
) -> list[Record]:
    ids = data.window_ids(windows, rows[0]["context_length"])
    nll = token_nll(model, ids.to(model.device), rows[0]["n"]).cpu().double().sum(dim=1).tolist()
    return [row | {"value": value} for row, value in zip(rows, nll, strict=True)]
