"""Context parallelism: every rank holds a share of each text and is handed the keys it sees (arXiv:2407.21783, 3.3.2).

There, every rank is handed all keys. Here it is handed those that its queries see: under a window that is the window
before its share and the sink tokens, whatever the length of the text.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.rope import index_in_text


class ContextShard:
    """What one rank holds of the texts of a pass: tokens that follow each other, and the keys that they see.

    The shares of all ranks are equally long, or differ by one token. Every rank knows who needs what of whom, since
    every rank knows how long the texts are and where they are padded: only keys and values are exchanged. Under a
    pattern without a window a later share sees more than an earlier one, so that the ranks do not end at the same time.

    Args:
        rank: Of `ranks`, in the order of the text.
        ranks: That share the text.
        bands: What a query sees.
        valid: Of the whole text, False on padding.
        group: Of the ranks; None where no keys are to be exchanged.

    Attributes:
        own: Tokens of this rank.
        slots: Keys that its queries attend to, in order: some before its share, and its own.
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
        shares = [local_slice(valid.shape[1], r, ranks) for r in range(ranks)]
        self.local_tokens, index = shares[rank], index_in_text(valid)
        before = _seen(bands, index, valid, self.local_tokens, slice(0, self.local_tokens.start)).cpu()
        own = torch.arange(self.local_tokens.start, self.local_tokens.stop)
        later = [_seen(bands, index, valid, other, self.local_tokens).nonzero()[:, 0] for other in shares[rank + 1 :]]
        self.visible_keys: Int[Tensor, " keys"] = torch.cat([before.nonzero()[:, 0], own]).to(valid.device)
        self._sent = torch.cat([own.new_empty(0).to(valid.device), *later])
        self._sent_counts = [0] * (rank + 1) + [len(slots) for slots in later]
        self._received_counts = [int(before[other].sum()) for other in shares]
        self._group = group

    def keys_and_values(
        self, k: Float[Tensor, "batch groups own dim"], v: Float[Tensor, "batch groups own dim"]
    ) -> tuple[Float[Tensor, "batch groups keys dim"], Float[Tensor, "batch groups keys dim"]]:
        """Return keys and values of `slots`, of those of this rank's tokens: what later ranks see is sent to them.

        All ranks call this, and in a backward pass all of them hand the gradients back.
        """
        sent = torch.cat([k.index_select(2, self._sent), v.index_select(2, self._sent)], dim=-1).movedim(2, 0)
        received = _exchange(sent, self._sent_counts, self._received_counts, self._group)
        before = received.movedim(0, 2).split([k.shape[-1], v.shape[-1]], dim=-1)
        return torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)


class _Exchange(torch.autograd.Function):
    """Tokens sent to every rank, in the order of the ranks, for those received; gradients go the way back."""

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


_exchange: Any = torch.compiler.disable(_Exchange.apply)  # its sizes hang on the rank, and on the padding of the batch


def _exchanged(x: Tensor, sent: list[int], received: list[int], group: distributed.ProcessGroup | None) -> Tensor:
    out = x.new_empty(sum(received), *x.shape[1:])
    distributed.all_to_all_single(out, x.contiguous(), received, sent, group=group)
    return out


def local_slice(tokens: int, rank: int, ranks: int) -> slice:
    """Return the share of `tokens` that a rank holds, which follow each other.

    Raises:
        ValueError: If a rank would hold fewer than 2.
    """
    if tokens < 2 * ranks:
        raise ValueError(
            f"A text is split over {ranks} ranks from {2 * ranks} tokens on, and this one has {tokens}: take a longer "
            "text, or fewer ranks."
        )
    return slice(tokens * rank // ranks, tokens * (rank + 1) // ranks)


def _seen(
    bands: list[Band],
    index: Int[Tensor, "rows tokens"],
    valid: Bool[Tensor, "rows tokens"],
    queries: slice,
    keys: slice,
) -> Bool[Tensor, " keys"]:
    """Return which of some keys are seen by any of some queries, which follow each other, in any row."""
    ask, at, key = valid[:, queries], index[:, queries], index[:, keys]
    first = at.masked_fill(~ask, index.shape[1]).amin(dim=1, keepdim=True)
    last = at.masked_fill(~ask, -1).amax(dim=1, keepdim=True)
    seen = torch.zeros_like(key, dtype=torch.bool)
    for band in bands:
        held = (key <= last - band.min_distance) & (key >= band.skipped_keys)
        if band.max_distance is not None:
            held &= key > first - band.max_distance
        if band.first_keys is not None:
            held &= key < band.first_keys
        seen |= held
    return (seen & valid[:, keys]).any(dim=0)
