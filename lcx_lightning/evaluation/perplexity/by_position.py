"""Loss by position in a text that is read in one pass, as LM-Infinite plots it (arXiv:2308.16137, figure 3)."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, rows_at_once
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ByPosition(AtMultiples):
    """One pass over each text, protocol `positions`: the loss by position, over buckets of positions.

    `position` of a row is the end of its bucket in tokens, `bucket` its width: the row has the loss of the tokens that
    stand at position - bucket to position - 1, BOS apart. A text is read as far as the method reaches, and
    `context_length` is how far that is: a factor that goes by length is the same for all positions of it.

    Args:
        multiples: Lengths of a text in units of the pretraining length L, of which the greatest within reach is read.
        bucket: Positions that are averaged, in units of L.
        texts: How many, of different documents as far as those reach.
        split: Of the corpus: test for results, validation for choosing recipes.
        seed: Of the choice of texts.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no multiples or no texts, or a bucket has no width.
    """

    def __init__(
        self, *, multiples: Sequence[float], bucket: float, texts: int, split: str, seed: int, batch_tokens: int
    ) -> None:
        if not multiples or min(multiples) <= 0 or texts < 1 or bucket <= 0:
            raise ValueError(
                "Positions need multiples of the pretraining length, texts >= 1 and bucket > 0, "
                f"got multiples={list(multiples)}, {texts=}, {bucket=}."
            )
        self._multiples, self._bucket, self._texts = sorted(multiples), bucket, texts
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        longest, served = self.lengths(pretrain_length)[-1], self.served(pretrain_length, max_context)
        if not served:
            return []
        texts = data.evaluation_windows(self._split, longest, self._texts, self._seed)
        bucket, work_units = max(2, round(self._bucket * pretrain_length)), []
        for batch in batches(texts, served[-1], self._batch_tokens):
            rows = [row for text in batch for row in _rows_of(data, text, served[-1], bucket)]
            work_units.append(WorkUnit(rows, partial(_compute, data=data, texts=batch, longest=longest, rows=rows)))
        return work_units

    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        served = self.served(pretrain_length, max_context)
        return [Reading(self._texts, n, rows_at_once(self._texts, n, self._batch_tokens), None) for n in served[-1:]]


def _rows_of(data: LongContextData, text: Window, length: int, bucket: int) -> list[Record]:
    """Return the rows of a text, first bucket first; the last one may be narrower."""
    ends = [1, *range(bucket, length, bucket), length]  # BOS, the only token before 1, is predicted by none
    return [
        nll_row("positions", "positions", data, text, length, end - start, position=end, bucket=bucket)
        for start, end in pairwise(ends)
    ]


def _compute(
    model: "PreTrainedModel", data: LongContextData, texts: list[Window], longest: int, rows: list[Record]
) -> list[Record]:
    ids = data.window_ids(texts, longest)[:, : rows[0]["context_length"]]
    nll = token_nll(model, ids.to(model.device)).cpu().double()
    buckets = rows[: len(rows) // len(texts)]
    sums = [part.sum(dim=1) for part in nll.split([row["n"] for row in buckets], dim=1)]
    values = [float(one[text]) for text in range(len(texts)) for one in sums]
    return [row | {"value": value} for row, value in zip(rows, values, strict=True)]
