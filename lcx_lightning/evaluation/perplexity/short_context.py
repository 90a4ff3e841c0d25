"""What an extension costs where there was nothing to extend: perplexity of the original window."""

from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.evaluation.over_windows import OverWindows
from lcx_lightning.evaluation.perplexity.nll import token_nll
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ShortContext(OverWindows):
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
        super().__init__(multiples=[1], windows=windows, split=split, seed=seed, batch_tokens=batch_tokens)

    def metrics(self) -> dict[str, Metric]:
        return {"original_window/nll": perplexity()}

    def score(
        self, model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"], ahead: int
    ) -> dict[str, Float[Tensor, "rows scored"]]:
        return {"original_window/nll": token_nll(model, ids, ids.shape[1] - ahead)}
