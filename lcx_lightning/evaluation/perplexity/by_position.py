"""Loss by position in a text that is read in one pass, as LM-Infinite plots it (arXiv:2308.16137, figure 3)."""

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll
from lcx_lightning.results.metrics import Axis, Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POSITION = Axis("position", "position", in_tokens=True, is_length=True)


class ByPosition(AtMultiples):
    """One pass over each text, protocol `positions`: the loss by position, over buckets of positions.

    `position` of a row is the end of its bucket in tokens, `bucket` its width: the row has the loss of the tokens at
    position - bucket to position - 1, without BOS. Each text is read as far as the method reaches, which is the
    `context_length` of its rows: a factor that depends on length is the same for all positions of a text.

    Args:
        multiples: Lengths of a text in units of the pretraining length L. The greatest one that the method reaches is
            read.
        bucket: Width of a bucket, in units of L.
        texts: Number of texts, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the texts.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there are no multiples or no texts, or a bucket has no width.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        bucket: PositiveFloat,
        texts: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        self._multiples, self._bucket, self._texts = sorted(multiples), bucket, texts
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens

    def metrics(self) -> dict[str, Metric]:
        return {"positions/nll": perplexity(axis=POSITION)}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        longest, served = self.lengths(pretrain_length)[-1], self.served(pretrain_length, max_context)
        if not served:
            return []
        texts = data.evaluation_windows(self._split, longest, self._texts, self._seed)
        bucket, work_units = max(data.ahead + 1, round(self._bucket * pretrain_length)), []
        for batch in batches(texts, served[-1], self._batch_tokens):
            rows = [row for text in batch for row in _rows_of(data, text, served[-1], bucket)]
            compute = partial(_compute, data=data, texts=batch, longest=longest, rows=rows)
            work_units.append(WorkUnit(rows, compute, one_batch(batch, served[-1])))
        return work_units


def _rows_of(data: LongContextData, text: Window, length: int, bucket: int) -> list[Record]:
    """Return the rows of a text, first bucket first; the last one may be narrower."""
    ends = [data.ahead, *range(bucket, length, bucket), length]  # BOS is not scored
    return [
        nll_row(
            "positions",
            "positions",
            data,
            text,
            length=length,
            n=end - start,
            at={"position": end},
            details={"bucket": bucket},
        )
        for start, end in pairwise(ends)
    ]


def _compute(
    model: "PreTrainedModel", data: LongContextData, texts: list[Window], longest: int, rows: list[Record]
) -> list[Record]:
    ids = data.window_ids(texts, longest)[:, : rows[0]["context_length"]]
    nll = token_nll(model, ids.to(model.device)).cpu().double()
    buckets = rows[: len(rows) // len(texts)]
    sums = [part.sum(dim=1) for part in nll[:, data.ahead - 1 :].split([row["n"] for row in buckets], dim=1)]
    values = [float(one[text]) for text in range(len(texts)) for one in sums]
    return [row | {"value": value} for row, value in zip(rows, values, strict=True)]
