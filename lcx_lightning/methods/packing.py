"""Attention over rows of several documents, none of which sees another: each is attended to as a text of its own.

Other programs mask the pairs of two documents (arXiv:2407.21783, section 3.2) or hand a kernel the documents' bounds.
Here every implementation sees whole texts and needs to know nothing; no pair of two documents is computed.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.rope import Rope


class Span(NamedTuple):
    """Documents that stand at the same tokens of several rows."""

    rows: list[int]
    start: int
    stop: int


class Packed:
    """The `Rope`s of one pass over rows of several documents. A plain class, as `Rope`.

    Args:
        spans: Of the documents: together they hold every token once.
        ropes: Of each span.
        tokens: Of a row.
    """

    def __init__(self, spans: list[Span], ropes: list[Rope], tokens: int) -> None:
        self.spans, self.ropes, self._tokens = spans, ropes, tokens
        places = [
            torch.tensor(span.rows)[:, None] * tokens + torch.arange(span.start, span.stop)[None] for span in spans
        ]
        self._sizes = [place.numel() for place in places]
        order = torch.cat([place.flatten() for place in places])
        device = ropes[0].key_index.device
        self._order, self._inverse = order.to(device), order.argsort().to(device)

    def attended(
        self,
        q: Float[Tensor, "batch heads tokens dim"],
        k: Float[Tensor, "batch groups tokens dim"],
        v: Float[Tensor, "batch groups tokens dim"],
        attend: Callable[[Tensor, Tensor, Tensor, Rope], Float[Tensor, "rows own heads dim"]],
    ) -> Float[Tensor, "batch tokens heads dim"]:
        """Return what `attend` makes of the documents of each span, in the order of the rows."""
        parts = zip(*map(self._parts, (q, k, v)), self.ropes, strict=True)
        outs = [attend(*part).flatten(0, 1) for part in parts]
        return torch.cat(outs)[self._inverse].unflatten(0, (len(q), self._tokens))

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the documents of each span, [rows, heads, own tokens, dim]: one gather, so that gradients are one."""
        tokens = x.transpose(1, 2).flatten(0, 1)[self._order]
        for span, part in zip(self.spans, tokens.split(self._sizes), strict=True):
            yield part.unflatten(0, (len(span.rows), -1)).transpose(1, 2)


def spans_of(segments: Int[Tensor, "rows tokens"]) -> list[Span]:
    """Return the documents of rows, those at the same tokens together; a document ends where the segment changes."""
    tokens, found = segments.shape[1], {}
    changes = (segments[:, 1:] != segments[:, :-1]).cpu()
    for row, change in enumerate(changes):
        bounds = [0, *(change.nonzero()[:, 0] + 1).tolist(), tokens]
        for start, stop in pairwise(bounds):
            found.setdefault((start, stop), []).append(row)
    return [Span(rows, start, stop) for (start, stop), rows in found.items()]
