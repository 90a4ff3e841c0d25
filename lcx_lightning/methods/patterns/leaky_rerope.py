"""Leaky ReRoPE: distances beyond a window grow more slowly (Su 2023, https://kexue.fm/archives/9708)."""

from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern


class LeakyReRoPE(Pattern):
    """See every earlier token; distance d beyond the window counts as window + (d - window) / slowdown.

    Without end to the slowdown this is ReRoPE, the pattern `Capped`. The released code multiplies queries by
    max(1, ln(n) / ln(L)) besides: that is a temperature, and not part of the pattern.

    Args:
        window: Tokens at their true distance, the query included (distances 0 .. window - 1); w in the source.
        slowdown: k in the source, at least 1. As far as (L - window) * k + window tokens, distances stay below L.

    Raises:
        ValueError: If window or slowdown is below 1.
    """

    def __init__(self, *, window: int, slowdown: float) -> None:
        if window < 1 or slowdown < 1:
            raise ValueError(f"Leaky ReRoPE needs window >= 1 and slowdown >= 1, got {window=}, {slowdown=}.")
        self.window, self.slowdown = window, slowdown

    def bands(self) -> list[Band]:
        near = Band(max_distance=self.window)
        far = Band(min_distance=self.window, query_at=self._query_at, key_at=self._slowed)
        return [near, far]

    def max_context(self, pretrain_length: int) -> int | None:
        window = min(self.window, pretrain_length)
        return int((pretrain_length - window) * self.slowdown) + window

    def _slowed(self, position: Tensor) -> Tensor:
        return position / self.slowdown

    def _query_at(self, position: Tensor) -> Tensor:
        return position / self.slowdown + self.window * (1 - 1 / self.slowdown)
