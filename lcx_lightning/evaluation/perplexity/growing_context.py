"""Growing context: perplexity of the same last tokens under longer and longer context, and of whole windows."""

from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import Multiples, WorkUnit
from lcx_lightning.evaluation.over_windows import OverWindows
from lcx_lightning.evaluation.perplexity.nll import token_nll
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GrowingContext(OverWindows):
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
        super().__init__(multiples=multiples, windows=windows, split=split, seed=seed, batch_tokens=batch_tokens)
        self._last = last

    def metrics(self) -> dict[str, Metric]:
        return {
            "last_k/nll": perplexity("the same last tokens of each document, under growing context"),
            "whole_window/nll": perplexity("all tokens of windows of this length"),
        }

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        shortest = self.lengths(pretrain_length)[0]
        if shortest - data.ahead < self._last:
            raise ValueError(
                f"Every context must hold the {self._last} tokens that are scored and BOS, "
                f"but the shortest has {shortest} tokens. Lower last, or raise the least of multiples."
            )
        return super().work_units(data, pretrain_length, max_context)

    def score(
        self, model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"], ahead: int
    ) -> dict[str, Float[Tensor, "rows scored"]]:
        nll = token_nll(model, ids)
        return {"last_k/nll": nll[:, -self._last :], "whole_window/nll": nll[:, ahead - 1 :]}
