"""Packed rows: attention over several documents in a row, none of which sees another (arXiv:2407.21783, section 3.2).

Llama 3 masks the pairs that cross documents, and variable-length kernels take the documents' bounds. Here attention is
called on each document as if it were a text of its own: no backend needs to know about packing, and no pair that
crosses documents is computed.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.rope import Rope


class DocumentSpan(NamedTuple):
    """Documents that occupy the same tokens in one or more rows."""

    rows: list[int]  # indices of the rows
    start: int  # first token
    stop: int  # token after the last one


class Packed:
    """The `Rope`s of one pass over rows of several documents. A plain class, for the reason that `Rope` gives.

    Args:
        spans: Spans of the documents; every token is in exactly one of them.
        ropes: One `Rope` for each span.
        tokens: Number of tokens in a row.
    """

    def __init__(self, spans: list[DocumentSpan], ropes: list[Rope], tokens: int) -> None:
        self.spans, self.ropes, self._tokens = spans, ropes, tokens
        indices = [
            torch.tensor(span.rows)[:, None] * tokens + torch.arange(span.start, span.stop)[None] for span in spans
        ]
        self._sizes = [index.numel() for index in indices]
        order = torch.cat([index.flatten() for index in indices])
        device = ropes[0].key_index.device
        self._order, self._inverse = order.to(device), order.argsort().to(device)

    def attended(
        self,
        q: Float[Tensor, "batch heads tokens dim"],
        k: Float[Tensor, "batch groups tokens dim"],
        v: Float[Tensor, "batch groups tokens dim"],
        attend: Callable[[Tensor, Tensor, Tensor, Rope], Float[Tensor, "rows document_tokens heads dim"]],
    ) -> Float[Tensor, "batch tokens heads dim"]:
        """Return the outputs of `attend`, called once for each span, put back in the order of the rows."""
        parts = zip(*map(self._parts, (q, k, v)), self.ropes, strict=True)
        outs = [attend(*part).flatten(0, 1) for part in parts]
        return torch.cat(outs)[self._inverse].unflatten(0, (len(q), self._tokens))

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the documents of each span, [rows, heads, document tokens, dim].

        All come from a single gather, so that the backward pass is a single scatter.
        """
        tokens = x.transpose(1, 2).flatten(0, 1)[self._order]
        for span, part in zip(self.spans, tokens.split(self._sizes), strict=True):
            yield part.unflatten(0, (len(span.rows), -1)).transpose(1, 2)


def document_spans(segments: Int[Tensor, "rows tokens"]) -> list[DocumentSpan]:
    """Return the spans of the documents in some rows; a document ends where the segment number changes."""
    tokens, found = segments.shape[1], {}
    changes = (segments[:, 1:] != segments[:, :-1]).cpu()
    for row, change in enumerate(changes):
        bounds = [0, *(change.nonzero()[:, 0] + 1).tolist(), tokens]
        for start, stop in pairwise(bounds):
            found.setdefault((start, stop), []).append(row)
    return [DocumentSpan(rows, start, stop) for (start, stop), rows in found.items()]
