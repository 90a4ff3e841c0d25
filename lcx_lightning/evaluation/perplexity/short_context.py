"""What an extension costs where there was nothing to extend: perplexity of the original window."""

from functools import partial
from typing import TYPE_CHECKING

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import Evaluation, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, rows_at_once
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ShortContext(Evaluation):
    """Protocol `original_window`: all tokens after BOS of windows as long as the pretraining length, in one pass each.

    Args:
        windows: Of different documents as far as those reach.
        split: Of the corpus: test for results, validation for choosing recipes.
        seed: Of the choice of windows.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no windows.
    """

    def __init__(self, *, windows: int, split: str, seed: int, batch_tokens: int) -> None:
        if windows < 1:
            raise ValueError(f"Short context needs windows >= 1, got {windows}.")
        self._windows, self._split, self._seed, self._batch_tokens = windows, split, seed, batch_tokens

    def lengths(self, pretrain_length: int) -> list[int]:
        return [pretrain_length]

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        found = [
            data.evaluation_windows(self._split, n, self._windows, self._seed)
            for n in self.served(pretrain_length, max_context)
        ]
        return [
            WorkUnit(
                [self._row(data, window, pretrain_length) for window in batch],
                partial(self._compute, data=data, windows=batch, length=pretrain_length),
            )
            for windows in found
            for batch in batches(windows, pretrain_length, self._batch_tokens)
        ]

    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        rows = rows_at_once(self._windows, pretrain_length, self._batch_tokens)
        return [Reading(self._windows, n, rows, None) for n in self.served(pretrain_length, max_context)]

    def _row(self, data: LongContextData, window: Window, length: int) -> Record:
        return nll_row("short_context", "original_window", data, window, length, length - 1)

    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], length: int
    ) -> list[Record]:
        nll = token_nll(model, data.window_ids(windows, length).to(model.device)).cpu().double().sum(dim=1).tolist()
        return [{**self._row(data, window, length), "value": value} for window, value in zip(windows, nll, strict=True)]
