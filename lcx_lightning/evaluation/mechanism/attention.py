"""Attention from inside: logits by distance, entropy and weight of the first tokens (LM-Infinite, arXiv:2308.16137)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.attention.capture import AttentionInputs
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, rows_at_once
from lcx_lightning.evaluation.mechanism.sampling import evenly_spaced, last_queries, with_last
from lcx_lightning.models.hooks import listening

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAIRS = 2**20  # logits held at once: 8 MiB of float64, and some of these


class Attention(AtMultiples):
    """What the paper explains length failure with, in section 3, of the same queries under longer and longer context.

    One pass over a window gives three protocols, each by layer and head; every number is a sum over queries.

    `attention_logits`: the largest logit, `largest_logit`, and the largest one without its sign, `largest_size`, of
    the keys at a distance in tokens: those from `distance` to below the next power of two. A logit is what the softmax
    takes: at the distance where the pattern rotates the pair, times the temperature; pairs that are not seen have none.
    `attention_entropy`: of the weights of a query in nats, at most the logarithm of the number of keys it sees.
    `attention_sinks`: share of the weight that lies on the first so many tokens of the text, BOS included.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        last: The queries are drawn from so many tokens at the end of the window, the same ones at every length.
        queries: Of a window.
        layers: Evenly spread, the first and the last among them.
        heads: Of a layer, evenly spread.
        first_tokens: Numbers of first tokens whose weight is summed.
        windows: Windows, of different documents as far as those reach.
        split: Of the corpus: test for results, validation for choosing recipes.
        seed: Of the choice of windows and of queries.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there is nothing to look at.
    """

    def __init__(  # noqa: PLR0913 a protocol in full
        self,
        *,
        multiples: Sequence[float],
        last: int,
        queries: int,
        layers: int,
        heads: int,
        first_tokens: Sequence[int],
        windows: int,
        split: str,
        seed: int,
        batch_tokens: int,
    ) -> None:
        if not multiples or min(multiples) <= 0 or not first_tokens:
            raise ValueError(
                "Attention needs multiples of the pretraining length and numbers of first_tokens, "
                f"got multiples={list(multiples)}, first_tokens={list(first_tokens)}."
            )
        counts = {"last": last, "queries": queries, "layers": layers, "heads": heads, "windows": windows}
        counts |= {"first_tokens": min(first_tokens)}
        if min(counts.values()) < 1:
            raise ValueError(f"Attention needs numbers of at least 1 to look at, got {counts}.")
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
            WorkUnit(self._known(data, some, length), partial(self._compute, data=data, windows=some, length=length))
            for length in self.served(pretrain_length, max_context)
            for some in batches(windows, length, self._batch_tokens)
        ]

    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        return [
            Reading(self._windows, n, rows_at_once(self._windows, n, self._batch_tokens), None)
            for n in self.served(pretrain_length, max_context)
        ]

    def _known(self, data: LongContextData, windows: list[Window], length: int) -> list[Record]:
        """Return the rows that every model has: of its first layer and head, and of the query itself as key."""
        found = [
            {"protocol": "attention_logits", "metric": "largest_logit", "distance": 0},
            {"protocol": "attention_entropy", "metric": "entropy"},
            {"protocol": "attention_sinks", "metric": "weight", "first_tokens": self._first_tokens[0]},
        ]
        return [
            self._row(data, window, length, 0, 0) | one | {"n": min(self._queries, self._last)}
            for window in windows
            for one in found
        ]

    def _row(self, data: LongContextData, window: Window, length: int, layer: int, head: int) -> Record:
        return {
            "evaluation": "attention",
            "dataset": f"{data.corpus.name}/{self._split}",
            "document": window.document,
            "window": window.end,
            "context_length": length,
            "layer": layer,
            "head": head,
            "last": self._last,
        }

    @torch.no_grad()
    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], length: int
    ) -> list[Record]:
        queries = last_queries(self._queries, self._last, length, self._seed).to(model.device)
        layers, rows = evenly_spaced(self._layers, model.config.num_hidden_layers), []

        def watch(attended: AttentionInputs) -> None:
            if attended.layer not in layers:
                return
            heads = evenly_spaced(self._heads, attended.q.shape[1])
            for number, head, found in _numbers(attended, heads, queries, self._first_tokens):
                rows.append(self._row(data, windows[number], length, attended.layer, head) | found)

        with listening(model.base_model, watch):
            model.base_model(input_ids=data.window_ids(windows, length).to(model.device), use_cache=False)
        return with_last(rows, self._known(data, windows, length))


def _numbers(
    attended: AttentionInputs, heads: list[int], queries: Int[Tensor, " queries"], first_tokens: list[int]
) -> Iterator[tuple[int, int, Record]]:
    """Yield row, head, and what a record says of them."""
    edges, found = edges_of(int(attended.rope.query_index.max())).to(attended.q.device), []
    for some in queries.split(max(1, PAIRS // (len(attended.q) * len(heads) * attended.k.shape[2]))):
        logits = attended.logits(heads, some).double()
        at = torch.bucketize(attended.distances(some), edges, right=True)[:, None]
        weights = logits.softmax(dim=-1)
        key = attended.rope.key_index[:, None, None, :]
        parts = {
            ("attention_logits", "largest_logit", "distance"): _largest(logits, at, len(edges) + 1),
            ("attention_logits", "largest_size", "distance"): _largest(_sizes(logits), at, len(edges) + 1),
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
            what = {name: names[name][kind]} if name else {}
            number = {"value": float(sums[row, head, kind]), "n": int(counts[row, head, kind])}
            yield row, heads[head], {"protocol": protocol, "metric": metric} | what | number


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
