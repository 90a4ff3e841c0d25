"""Sliding-window perplexity: every token once, with much context before it (arXiv:2012.15832, arXiv:2306.15595)."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import rows_at_once
from lcx_lightning.evaluation.perplexity.nll import nll_row, token_nll
from lcx_lightning.results.metrics import Metric, perplexity
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sliding_nll(
    model: "PreTrainedModel", ids: Int[Tensor, " tokens"], length: int, stride: int, rows: int, ahead: int
) -> Iterator[Float[Tensor, " scored"]]:
    """Yield, window by window, the negative log-likelihood in nats, float32, of the tokens that it scores.

    The first window scores all its tokens but BOS, every later one the tokens that it adds.

    Args:
        model: The model, on its device.
        ids: A text of at least `length` tokens, BOS first.
        length: Tokens of a window, with the BOS at its front.
        stride: Tokens that a window adds, below `length`; the last window may add fewer.
        rows: Windows that are read at once.
        ahead: Tokens of BOS.
    """
    yield token_nll(model, ids[None, :length].to(model.device), length - ahead)[0]
    spans = list(pairwise([*range(length, len(ids), stride), len(ids)]))
    for batch in (spans[i : i + rows] for i in range(0, len(spans), rows)):
        windows = torch.stack([ids[end - length : end] for _, end in batch])
        windows[:, :ahead] = ids[:ahead]
        losses = token_nll(model, windows.to(model.device), stride)
        yield from (row[start - end :] for row, (start, end) in zip(losses, batch, strict=True))


class Sliding(AtMultiples):
    """Windows of the context length slide over texts, protocol `sliding`, as Position Interpolation evaluates.

    A window scores the tokens that it adds, the first window all of its tokens: at every length, every token of a text
    is scored once, with at least length - stride tokens before it, except those of the first window. The paper's
    settings: L = 2,048, stride 256, texts of 32,768 tokens.

    Args:
        multiples: Lengths of a window in units of the pretraining length L.
        stride: Tokens that a window adds, in units of L.
        text: Tokens of a text with its BOS, in units of L.
        texts: Number of texts, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the texts.
        batch_tokens: Tokens of a batch of windows.

    Raises:
        ValueError: If there are no multiples or no texts, or a text does not hold the longest window.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        stride: PositiveFloat,
        text: PositiveFloat,
        texts: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        if text < max(multiples):
            raise ValueError(
                "Sliding windows need a text at least as long as the largest of multiples, got "
                f"{text=}, multiples={list(multiples)}."
            )
        self._multiples, self._stride, self._text, self._texts = sorted(multiples), stride, text, texts
        self._split, self._seed, self._batch_tokens = split, seed, batch_tokens

    def metrics(self) -> dict[str, Metric]:
        return {"sliding/nll": perplexity()}

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        size, stride = round(self._text * pretrain_length), self._stride_tokens(pretrain_length, data.ahead)
        texts = data.evaluation_windows(self._split, size, self._texts, self._seed)
        return [
            self._work_unit(data, text, size, length, stride)
            for length in self.served(pretrain_length, max_context)
            for text in texts
        ]

    def _work_unit(self, data: LongContextData, text: Window, size: int, length: int, stride: int) -> WorkUnit:
        windows = 1 - (length - size) // stride
        rows = rows_at_once(max(1, windows - 1), length, self._batch_tokens)  # the first window is read alone
        row = nll_row("sliding", "sliding", data, text, length=length, n=size - data.ahead, details={"stride": stride})
        compute = partial(_compute, data=data, text=text, row=row, rows=rows)
        return WorkUnit([row], compute, [Reading(windows, length, rows, None)])

    def _stride_tokens(self, pretrain_length: int, ahead: int) -> int:
        """Return the stride in tokens.

        Raises:
            ValueError: If it is no token, or a window would hold nothing but the tokens that it scores.
        """
        stride, shortest = round(self._stride * pretrain_length), self.lengths(pretrain_length)[0]
        if not 0 < stride <= shortest - ahead:
            raise ValueError(
                f"The stride needs to be at least one token and shorter than every window, but it has {stride} tokens "
                f"and the shortest window {shortest}. It is given in units of the pretraining length: {self._stride}."
            )
        return stride


def _compute(model: "PreTrainedModel", data: LongContextData, text: Window, row: Record, rows: int) -> list[Record]:
    ids = data.window_ids([text], row["n"] + data.ahead)[0]
    losses = sliding_nll(model, ids, row["context_length"], row["details"]["stride"], rows, data.ahead)
    return [row | {"value": sum(float(scored.cpu().double().sum()) for scored in losses)}]
