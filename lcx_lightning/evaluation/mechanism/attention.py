"""Attention from inside: logits by distance, entropy and weight of the first tokens (LM-Infinite, arXiv:2308.16137)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import torch
from annotated_types import MinLen
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.attention.capture import AttentionInputs
from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.mechanism.sampling import evenly_spaced, last_queries, with_last
from lcx_lightning.models.attached import listening
from lcx_lightning.results.metrics import Axis, Metric
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAIRS = 2**20  # logits held at once: 8 MiB of float64, and several such tensors
DISTANCE, FIRST_TOKENS = Axis("distance", "distance", in_tokens=True), Axis("first_tokens", "first tokens")
METRICS = {
    "attention_logits/largest_logit": Metric("largest logit", axis=DISTANCE),
    "attention_logits/largest_size": Metric("largest absolute logit", axis=DISTANCE),
    "attention_entropy/entropy": Metric("entropy (nats)"),
    "attention_sinks/weight": Metric("attention weight", axis=FIRST_TOKENS),
}


class Attention(AtMultiples):
    """The quantities that section 3 of the paper explains length failure with, for the same queries as context grows.

    One pass over a window gives three protocols, each by layer and head; every number is a sum over queries.

    `attention_logits`: the largest logit, `largest_logit`, and the largest absolute value of a logit, `largest_size`,
    of the keys at a distance in tokens: from `distance` to below the next power of two. A logit is what the softmax
    takes: at the distance by which the pattern rotates the pair, times the temperature. Invisible pairs have none.
    `attention_entropy`: entropy of the weights of a query in nats, at most the logarithm of the number of visible keys.
    `attention_sinks`: share of the weight that lies on the first `first_tokens` tokens of the text, BOS included.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        last: Number of tokens at the end of a window that queries are drawn from, the same tokens at every length.
        queries: Number of queries of a window.
        layers: Number of layers, evenly spaced, with the first and the last among them.
        heads: Number of heads of a layer, evenly spaced.
        first_tokens: Numbers of first tokens whose weight is summed.
        windows: Number of windows, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows and the queries.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there is nothing to measure.
    """

    @checked
    def __init__(  # noqa: PLR0913 a protocol in full
        self,
        *,
        multiples: Multiples,
        last: PositiveInt,
        queries: PositiveInt,
        layers: PositiveInt,
        heads: PositiveInt,
        first_tokens: Annotated[Sequence[PositiveInt], MinLen(1)],
        windows: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        self._multiples, self._last, self._queries = sorted(multiples), last, queries
        self._layers, self._heads, self._first_tokens = layers, heads, sorted(first_tokens)
        self._windows, self._split, self._seed, self._batch_tokens = windows, split, seed, batch_tokens

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        lengths = self.lengths(pretrain_length)
        if lengths[0] <= self._last:
            raise ValueError(
                f"Every context must hold BOS and the {self._last} tokens that queries are drawn from, but the "
                f"shortest has {lengths[0]} tokens. Lower last, or raise the least of multiples."
            )
        windows = data.evaluation_windows(self._split, lengths[-1], self._windows, self._seed)
        return [
            self._work_unit(data, batch, length)
            for length in self.served(pretrain_length, max_context)
            for batch in batches(windows, length, self._batch_tokens)
        ]

    def metrics(self) -> dict[str, Metric]:
        return METRICS

    def _work_unit(self, data: LongContextData, windows: list[Window], length: int) -> WorkUnit:
        # every model has a first layer and head, and its queries themselves as keys
        least = [
            Number("attention_logits", "largest_logit", {"distance": 0}),
            Number("attention_entropy", "entropy", {}),
            Number("attention_sinks", "weight", {"first_tokens": self._first_tokens[0]}),
        ]
        rows = [self._row(data, window, length, 0, 0, number) for window in windows for number in least]
        compute = partial(self._compute, data=data, windows=windows, length=length, known=rows)
        return WorkUnit(rows, compute, one_batch(windows, length))

    def _row(
        self, data: LongContextData, window: Window, length: int, layer: int, head: int, number: "Number"
    ) -> Record:
        return {
            "evaluation": "attention",
            "protocol": number.protocol,
            "dataset": f"{data.corpus.name}/{self._split}",
            "document": window.document,
            "context_length": length,
            "metric": number.metric,
            "n": min(self._queries, self._last) if number.n is None else number.n,
            "at": {"window": window.end, "layer": layer, "head": head, **number.at},
            "details": {"last": self._last},
        }

    @torch.no_grad()
    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], length: int, known: list[Record]
    ) -> list[Record]:
        queries = last_queries(self._queries, self._last, length, self._seed).to(model.device)
        layers, rows = evenly_spaced(self._layers, model.config.num_hidden_layers), []

        def watch(attended: AttentionInputs) -> None:
            if attended.layer not in layers:
                return
            heads = evenly_spaced(self._heads, attended.q.shape[1])
            for row, head, number in _numbers(attended, heads, queries, self._first_tokens):
                record = self._row(data, windows[row], length, attended.layer, head, number)
                rows.append(record | {"value": number.value})

        with listening(model.base_model, watch):
            model.base_model(input_ids=data.window_ids(windows, length).to(model.device), use_cache=False)
        return with_last(rows, known)


class Number(NamedTuple):
    """A sum over queries of one layer and head, and what a record says of it."""

    protocol: str
    metric: str
    at: dict[str, int]
    value: float = 0.0
    n: int | None = None  # queries summed over; None: all


def _numbers(
    attended: AttentionInputs, heads: list[int], queries: Int[Tensor, " queries"], first_tokens: list[int]
) -> Iterator[tuple[int, int, Number]]:
    """Yield row, head and number."""
    edges, found = edges_of(int(attended.rope.query_index.max())).to(attended.q.device), []
    for some in queries.split(max(1, PAIRS // (len(attended.q) * len(heads) * attended.k.shape[2]))):
        logits = attended.logits(heads, some).double()
        bins = torch.bucketize(attended.distances(some), edges, right=True)[:, None]
        weights = logits.softmax(dim=-1)
        key = attended.rope.key_index[:, None, None, :]
        parts = {
            ("attention_logits", "largest_logit", "distance"): _largest(logits, bins, len(edges) + 1),
            ("attention_logits", "largest_size", "distance"): _largest(_sizes(logits), bins, len(edges) + 1),
            ("attention_entropy", "entropy", ""): torch.special.entr(weights).sum(dim=-1, keepdim=True),
            ("attention_sinks", "weight", "first_tokens"): torch.stack(
                [(weights * (key < count)).sum(dim=-1) for count in first_tokens], dim=-1
            ),
        }
        found.append(parts)
    names = {"distance": [0, *edges.tolist()], "first_tokens": first_tokens}
    for protocol, metric, name in found[0]:
        whole = torch.cat([parts[protocol, metric, name] for parts in found], dim=2).cpu()  # rows heads queries kinds
        counts, sums = whole.isfinite().sum(dim=2), whole.where(whole.isfinite(), 0.0).sum(dim=2)
        for row, head, kind in counts.nonzero().tolist():
            at = {name: names[name][kind]} if name else {}
            value, n = float(sums[row, head, kind]), int(counts[row, head, kind])
            yield row, heads[head], Number(protocol, metric, at, value, n)


def edges_of(longest: int) -> Int[Tensor, " edges"]:
    """Return the powers of two up to the longest distance in tokens, the first distances of all bins but that of 0."""
    return 2 ** torch.arange(max(longest, 1).bit_length())


def _largest(
    logits: Float[Tensor, "rows heads queries keys"], bins: Int[Tensor, "#rows 1 queries keys"], count: int
) -> Float[Tensor, "rows heads queries bins"]:
    """Return the largest logit in each bin, -inf where there is none."""
    least = logits.new_full((*logits.shape[:3], count), -torch.inf)
    return least.scatter_reduce(-1, bins.expand_as(logits), logits, "amax")


def _sizes(logits: Tensor) -> Tensor:
    return logits.abs().where(logits.isfinite(), -torch.inf)
