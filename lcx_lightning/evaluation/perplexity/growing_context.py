"""Growing context: perplexity of the same last tokens under longer and longer context, and of whole windows."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, rows_at_once
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GrowingContext(AtMultiples):
    """One pass over a window of each length gives two protocols.

    `last_k`: the last k tokens of the window, the same tokens at every length, so that only the context changes: does
    more context help? `whole_window`: all tokens after BOS, the plain perplexity at a length, which mixes easy late
    tokens with hard early ones. BOS stands at position 0 of every window; nothing is cached between windows.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        last: k, tokens scored at the end of the window.
        windows: Windows, of different documents as far as those reach.
        split: Of the corpus: test for results, validation for choosing recipes.
        seed: Of the choice of windows.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no multiples or no windows, or `last` is below 1.
    """

    def __init__(
        self, *, multiples: Sequence[float], last: int, windows: int, split: str, seed: int, batch_tokens: int
    ) -> None:
        if not multiples or min(multiples) <= 0 or last < 1 or windows < 1:
            raise ValueError(
                "Growing context needs multiples of the pretraining length, last >= 1 and windows >= 1, "
                f"got multiples={list(multiples)}, {last=}, {windows=}."
            )
        self._multiples, self._last, self._windows = sorted(multiples), last, windows
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        lengths = self.lengths(pretrain_length)
        if lengths[0] <= self._last:
            raise ValueError(
                f"Every context must hold the {self._last} tokens that are scored and BOS, "
                f"but the shortest has {lengths[0]} tokens. Lower last, or raise the least of multiples."
            )
        windows = data.evaluation_windows(self._split, lengths[-1], self._windows, self._seed)
        return [
            self._piece(data, some, length)
            for length in self.served(pretrain_length, max_context)
            for some in batches(windows, length, self._batch_tokens)
        ]

    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        return [
            Reading(self._windows, n, rows_at_once(self._windows, n, self._batch_tokens), None)
            for n in self.served(pretrain_length, max_context)
        ]

    def _piece(self, data: LongContextData, windows: list[Window], length: int) -> WorkUnit:
        rows = [self._row(data, window, length, protocol) for window in windows for protocol in self._scored(length)]
        return WorkUnit(rows, partial(self._compute, data=data, windows=windows, length=length))

    def _scored(self, length: int) -> dict[str, int]:
        """Return by protocol the number of tokens scored at the end of a window."""
        return {"last_k": self._last, "whole_window": length - 1}

    def _row(self, data: LongContextData, window: Window, length: int, protocol: str) -> Record:
        return nll_row("growing_context", protocol, data, window, length, self._scored(length)[protocol])

    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], length: int
    ) -> list[Record]:
        nll = token_nll(model, data.window_ids(windows, length).to(model.device)).cpu().double()
        return [
            self._row(data, window, length, protocol) | {"value": float(row[-scored:].sum())}
            for window, row in zip(windows, nll, strict=True)
            for protocol, scored in self._scored(length).items()
        ]
