"""Context parallelism: every rank holds a shard of each text and receives the keys it sees (arXiv:2407.21783, 3.3.2).

Llama 3 gathers all keys on every rank. Here a rank receives only those that its queries see: under a window these are
the window before its shard and the sink tokens, at any length of the text.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import index_in_text


class ContextShard:
    """One rank's shard of the texts of a pass: consecutive tokens, and the keys that they see.

    The shards of all ranks have the same number of tokens, or differ by one. Every rank knows the lengths and the
    padding of the texts, and so which keys each rank needs from each other rank: only keys and values are exchanged.
    Under a pattern without a window a later shard sees more keys than an earlier one, and takes more time.

    Args:
        rank: Index of this rank, in the order of the text.
        ranks: Number of ranks that share the text.
        bands: Bands of the pattern.
        valid: Mask of the whole text, False on padding.
        group: Process group of the ranks, or None if no keys are to be exchanged.

    Attributes:
        local_tokens: Tokens of this rank, a slice of the text.
        visible_keys: Indices of the keys that its queries see, in order: some before its tokens, then its own.
    """

    def __init__(
        self,
        rank: int,
        ranks: int,
        *,
        bands: list[Band],
        valid: Bool[Tensor, "rows tokens"],
        group: distributed.ProcessGroup | None = None,
    ) -> None:
        shards = [local_slice(valid.shape[1], r, ranks) for r in range(ranks)]
        self.local_tokens, index = shards[rank], index_in_text(valid)
        before = _seen(bands, index, valid, self.local_tokens, slice(0, self.local_tokens.start)).cpu()
        local = torch.arange(self.local_tokens.start, self.local_tokens.stop)
        later = [_seen(bands, index, valid, other, self.local_tokens).nonzero()[:, 0] for other in shards[rank + 1 :]]
        self.visible_keys: Int[Tensor, " keys"] = torch.cat([before.nonzero()[:, 0], local]).to(valid.device)
        self._sent = torch.cat([local.new_empty(0).to(valid.device), *later])
        self._sent_counts = [0] * (rank + 1) + [len(keys) for keys in later]
        self._received_counts = [int(before[other].sum()) for other in shards]
        self._group = group
        # its sizes depend on the rank, and on the padding of the batch: no part of a compiled graph
        self._exchange: Any = torch.compiler.disable(_Exchange.apply)

    def keys_and_values(
        self, k: Float[Tensor, "batch groups local dim"], v: Float[Tensor, "batch groups local dim"]
    ) -> tuple[Float[Tensor, "batch groups keys dim"], Float[Tensor, "batch groups keys dim"]]:
        """Return keys and values of `visible_keys`, from those of this rank's tokens; later ranks are sent theirs.

        All ranks call this together, and their backward passes send the gradients back.
        """
        sent = torch.cat([k.index_select(2, self._sent), v.index_select(2, self._sent)], dim=-1).movedim(2, 0)
        received = self._exchange(sent, self._sent_counts, self._received_counts, self._group)
        before = received.movedim(0, 2).split([k.shape[-1], v.shape[-1]], dim=-1)
        return torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)


class _Exchange(torch.autograd.Function):
    """Exchange of tokens between all ranks, in the order of the ranks; gradients take the reverse way."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sent: list[int], received: list[int], group: distributed.ProcessGroup | None
    ) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _exchanged(x, sent, received, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _exchanged(grad, ctx.received, ctx.sent, ctx.group), None, None, None


def _exchanged(x: Tensor, sent: list[int], received: list[int], group: distributed.ProcessGroup | None) -> Tensor:
    out = x.new_empty(sum(received), *x.shape[1:])
    distributed.all_to_all_single(out, x.contiguous(), received, sent, group=group)
    return out


def local_slice(tokens: int, rank: int, ranks: int) -> slice:
    """Return the consecutive part of `tokens` that a rank holds.

    Raises:
        ValueError: If a rank would hold fewer than 2 tokens.
    """
    if tokens < 2 * ranks:
        raise ValueError(
            f"A text can be split over {ranks} ranks from {2 * ranks} tokens on, and this one has {tokens}: take a "
            "longer text, or fewer ranks."
        )
    return slice(tokens * rank // ranks, tokens * (rank + 1) // ranks)


def _seen(
    bands: list[Band],
    index: Int[Tensor, "rows tokens"],
    valid: Bool[Tensor, "rows tokens"],
    queries: slice,
    keys: slice,
) -> Bool[Tensor, " keys"]:
    """Return which of some keys are seen by at least one of some consecutive queries, in any row."""
    query_valid, query, key = valid[:, queries], index[:, queries], index[:, keys]
    first = query.masked_fill(~query_valid, index.shape[1]).amin(dim=1, keepdim=True)
    last = query.masked_fill(~query_valid, -1).amax(dim=1, keepdim=True)
    seen = torch.zeros_like(key, dtype=torch.bool)
    for band in bands:
        in_band = (key <= last - band.min_distance) & (key >= band.skipped_keys)
        if band.max_distance is not None:
            in_band &= key > first - band.max_distance
        if band.first_keys is not None:
            in_band &= key < band.first_keys
        seen |= in_band
    return (seen & valid[:, keys]).any(dim=0)
