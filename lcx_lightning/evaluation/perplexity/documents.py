"""Documents of exactly the context length, read in chunks as CLEX's code does (arXiv:2310.16450), or at once."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll, without_first
from lcx_lightning.evaluation.perplexity.streaming import stream_nll
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Documents(AtMultiples):
    """Perplexity of all tokens of documents that have exactly the context length.

    Protocol `documents`: documents are read in chunks, with a cache, so that a factor that depends on length grows from
    chunk to chunk, and early chunks keep the factor that they were read with. CLEX's code does so in chunks of 4,096,
    its L. It leaves out the first token of every chunk; here all tokens but BOS are scored. Protocol
    `documents_one_pass`: documents are read at once, all under the factor of the whole length. The documents of every
    length are cut from the same texts, side by side.

    Args:
        multiples: Lengths of documents in units of the pretraining length L.
        chunk: Tokens of a pass, in units of L. None to read a document at once.
        texts: Number of texts of the greatest length, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the texts.
        batch_tokens: Tokens of a batch of documents.

    Raises:
        ValueError: If there are no multiples or no texts, or a chunk has no length.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        chunk: PositiveFloat | None,
        texts: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        self._multiples, self._chunk, self._texts = sorted(multiples), chunk, texts
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens
        self._protocol = "documents_one_pass" if chunk is None else "documents"

    def metrics(self) -> dict[str, Metric]:
        return {f"{self._protocol}/nll": perplexity()}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        longest = self.lengths(pretrain_length)[-1]
        chunk = None if self._chunk is None else max(1, round(self._chunk * pretrain_length))
        texts = data.evaluation_windows(self._split, longest, self._texts, self._seed)
        work_units = []
        for length in self.served(pretrain_length, max_context):
            documents = [document for text in texts for document in _cut(text, longest, length, data.ahead)]
            for batch in batches(documents, length, self._batch_tokens):
                work_units.append(self._work_unit(data, batch, length, chunk))
        return work_units

    def _work_unit(self, data: LongContextData, documents: list[Window], length: int, chunk: int | None) -> WorkUnit:
        details = None if chunk is None else {"chunk": chunk}
        rows = [
            nll_row(self._protocol, self._protocol, data, one, length=length, n=length - data.ahead, details=details)
            for one in documents
        ]
        compute = partial(_compute, data=data, documents=documents, rows=rows, chunk=chunk)
        return WorkUnit(rows, compute, one_batch(documents, length, chunk))


def _cut(text: Window, size: int, length: int, ahead: int) -> list[Window]:
    """Return documents of `length` tokens, BOS included, that stand side by side at the end of a text of `size`."""
    own = length - ahead
    return [replace(text, end=text.end - i * own) for i in range((size - ahead) // own)]


def _compute(
    model: "PreTrainedModel", data: LongContextData, documents: list[Window], rows: list[Record], chunk: int | None
) -> list[Record]:
    ids = data.window_ids(documents, rows[0]["context_length"]).to(model.device)
    parts = [token_nll(model, ids)] if chunk is None else stream_nll(model, ids.split(chunk, dim=1))
    sums = sum(map(_sums, without_first(parts, data.ahead - 1)))
    assert isinstance(sums, Tensor)
    return [row | {"value": value} for row, value in zip(rows, sums.tolist(), strict=True)]


def _sums(losses: Float[Tensor, "rows tokens"]) -> Float[Tensor, " rows"]:
    return losses.cpu().double().sum(dim=1)
