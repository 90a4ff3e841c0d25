"""Streaming perplexity over whole documents one after the other, to millions of tokens (arXiv:2308.16137, figure 4)."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge
from pydantic import NonNegativeInt

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.perplexity.streaming import stream_rows, with_losses
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class JoinedStream(AtMultiples):
    """One stream of documents in a random order, protocol `joined_stream`: the loss by depth, beyond any document.

    As in LM-Infinite's stream of 200 million tokens: BOS, and then documents with nothing between them, each once. The
    row of a length has the tokens after the length before it. Rows come out while the stream is read; an interrupted
    stream is read again from its beginning, since its keys are gone.

    Args:
        multiples: Depths in units of the pretraining length L.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for the order of documents.
        chunk: Tokens of a pass.

    Raises:
        ValueError: If there are no multiples, or `chunk` is below 2.
    """

    @checked
    def __init__(
        self, *, multiples: Multiples, split: Split, seed: NonNegativeInt, chunk: Annotated[int, Ge(2)]
    ) -> None:
        self._multiples, self._split, self._seed, self._chunk = sorted(multiples), split, seed, chunk

    def metrics(self) -> dict[str, Metric]:
        return {"joined_stream/nll": perplexity()}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        longest, served = self.lengths(pretrain_length)[-1], self.served(pretrain_length, max_context)
        if not served:
            return []
        documents = data.joined_documents(self._split, longest, self._seed)
        name = f"{documents[0].document} and {len(documents) - 1} more"
        stream = Window(self._split, name, documents[0].index, longest - data.ahead)
        rows = stream_rows(data, stream, served, "joined_stream")
        compute = partial(self._compute, data=data, documents=documents, rows=rows)
        return [WorkUnit(rows, compute, [Reading(1, served[-1], 1, self._chunk)], streams_rows=True)]

    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, documents: list[Window], rows: list[Record]
    ) -> Iterator[Record]:
        ids = data.joined_ids(documents)[: rows[-1]["context_length"]]
        return with_losses(model, ids, self._chunk, rows)
