"""Streaming perplexity: a text without end, read in chunks at constant memory (StreamingLLM, arXiv:2309.17453)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_losses, without_first
from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def stream_nll(
    model: "PreTrainedModel", chunks: Iterable[Int[Tensor, "rows tokens"]]
) -> Iterator[Float[Tensor, "rows tokens"]]:
    """Yield the negative log-likelihood in nats, float32, of the tokens of each chunk, all but the very first token.

    The cache is the smallest one that serves the method: with a pattern of sinks and a window, memory does not grow
    with the stream. A factor that depends on length grows from chunk to chunk.
    """
    cache, last = smallest_cache(model), None
    for ids in chunks:
        hidden = model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
        if last is None:
            yield token_losses(model, hidden[:, :-1], ids[:, 1:])
        else:
            yield token_losses(model, torch.cat([last, hidden[:, :-1]], dim=1), ids)
        last = hidden[:, -1:].clone()


class Streaming(AtMultiples):
    """One stream of each window, protocol `streaming`: the loss by depth, of the tokens from one length to the next.

    The stream is BOS and the window's text; nothing is read twice. The row of a length has the tokens after the length
    before it: does the loss stay where it was, however deep into the stream? Rows come out while a stream is read; an
    interrupted stream is read again from its beginning, since its keys are gone.

    Args:
        multiples: Depths in units of the pretraining length L.
        windows: Number of streams, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows.
        chunk: Tokens of a pass.

    Raises:
        ValueError: If there are no multiples or no windows, or `chunk` is below 2.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        windows: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        chunk: Annotated[int, Ge(2)],
    ) -> None:
        self._multiples, self._windows, self._chunk = sorted(multiples), windows, chunk
        self._split, self._seed = split, seed

    def metrics(self) -> dict[str, Metric]:
        return {"streaming/nll": perplexity()}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        longest, served = self.lengths(pretrain_length)[-1], self.served(pretrain_length, max_context)
        work_units = []
        for window in data.evaluation_windows(self._split, longest, self._windows, self._seed) if served else []:
            rows = stream_rows(data, window, served, "streaming")
            compute = partial(self._compute, data=data, window=window, rows=rows, longest=longest)
            work_units.append(WorkUnit(rows, compute, [Reading(1, served[-1], 1, self._chunk)], streams_rows=True))
        return work_units

    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, window: Window, rows: list[Record], longest: int
    ) -> Iterator[Record]:
        ids = data.window_ids([window], longest)[0, : rows[-1]["context_length"]]
        return with_losses(model, ids, self._chunk, rows)


def stream_rows(data: LongContextData, window: Window, lengths: Sequence[int], name: str) -> list[Record]:
    """Return the rows of a stream by depth, without values: each has the tokens between two lengths."""
    pairs = pairwise([data.ahead, *lengths])  # BOS is not scored
    return [nll_row(name, name, data, window, length=end, n=end - start) for start, end in pairs]


def with_losses(
    model: "PreTrainedModel", ids: Int[Tensor, " tokens"], chunk: int, rows: list[Record]
) -> Iterator[Record]:
    """Yield the rows of a stream with their values, each as soon as the stream has been read so far.

    Args:
        model: The model, on its device.
        ids: The stream, BOS first.
        chunk: Tokens of a pass.
        rows: Rows of the stream, from `stream_rows`, that reach to its end.
    """
    chunks = (part[None].long().to(model.device) for part in ids.split(chunk))
    unscored = len(ids) - 1 - sum(row["n"] for row in rows)
    losses = (part[0].cpu().double() for part in without_first(stream_nll(model, chunks), unscored))
    waiting = next(losses)
    for row in rows:
        total, left = 0.0, row["n"]
        while left > len(waiting):
            total, left = total + float(waiting.sum()), left - len(waiting)
            waiting = next(losses)
        yield row | {"value": total + float(waiting[:left].sum())}
        waiting = waiting[left:]
