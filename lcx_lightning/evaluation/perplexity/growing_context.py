"""Growing context: perplexity of the same last tokens under longer and longer context, and of whole windows."""

from functools import partial
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GrowingContext(AtMultiples):
    """One pass over a window of each length gives two protocols.

    `last_k`: the last k tokens of the window, the same tokens at every length, so that only the context changes: does
    more context help? `whole_window`: all tokens after BOS, the plain perplexity at a length, which mixes easy late
    tokens with hard early ones. BOS stands at position 0 of every window; nothing is cached between windows.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        last: Number k of tokens that are scored at the end of a window.
        windows: Number of windows, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no multiples or no windows, or `last` is below 1.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        last: PositiveInt,
        windows: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        self._multiples, self._last, self._windows = sorted(multiples), last, windows
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens

    def metrics(self) -> dict[str, Metric]:
        return {
            "last_k/nll": perplexity("the same last tokens of each document, under growing context"),
            "whole_window/nll": perplexity("all tokens of windows of this length"),
        }

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        lengths = self.lengths(pretrain_length)
        if lengths[0] - data.ahead < self._last:
            raise ValueError(
                f"Every context must hold the {self._last} tokens that are scored and BOS, "
                f"but the shortest has {lengths[0]} tokens. Lower last, or raise the least of multiples."
            )
        windows = data.evaluation_windows(self._split, lengths[-1], self._windows, self._seed)
        return [
            self._work_unit(data, batch, length)
            for length in self.served(pretrain_length, max_context)
            for batch in batches(windows, length, self._batch_tokens)
        ]

    def _work_unit(self, data: LongContextData, windows: list[Window], length: int) -> WorkUnit:
        scored = {"last_k": self._last, "whole_window": length - data.ahead}
        rows = [
            nll_row("growing_context", protocol, data, window, length=length, n=n)
            for window in windows
            for protocol, n in scored.items()
        ]
        return WorkUnit(rows, partial(_compute, data=data, windows=windows, rows=rows), one_batch(windows, length))


def _compute(
    model: "PreTrainedModel", data: LongContextData, windows: list[Window], rows: list[Record]
) -> list[Record]:
    ids = data.window_ids(windows, rows[0]["context_length"])
    nll = token_nll(model, ids.to(model.device)).cpu().double()
    protocols = len(rows) // len(windows)
    return [row | {"value": float(nll[i // protocols, -row["n"] :].sum())} for i, row in enumerate(rows)]
