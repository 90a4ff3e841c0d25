"""Leaky ReRoPE: distances beyond a window grow more slowly (Su 2023, https://kexue.fm/archives/9708).

Mask of LeakyReRoPE(window=3, slowdown=2):

    #.......
    ##......
    ###.....
    ####....
    =####...
    ==####..
    ===####.
    ====####

Rows are queries, columns keys; `#` is seen at its true distance, `=` at a smaller one, `.` not at all.
"""

from typing import Annotated

from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern
from lcx_lightning.schema.checked import checked


class LeakyReRoPE(Pattern):
    """See every earlier token; distance d beyond the window counts as window + (d - window) / slowdown.

    As the slowdown goes to infinity, this becomes ReRoPE, the pattern `Capped`. The released code also multiplies
    queries by max(1, ln(n) / ln(L)): that is a temperature, in the method `leaky_rerope` and not in
    `leaky_rerope_without_log_n`.

    Args:
        window: Tokens at their true distance, the query included (distances 0 .. window - 1); w in the source.
        slowdown: Divisor of the distances beyond the window, at least 1; k in the source. Rotated distances stay below
            L in contexts of up to (L - window) * slowdown + window tokens.

    Raises:
        ValueError: If window or slowdown is below 1.
    """

    @checked
    def __init__(self, *, window: PositiveInt, slowdown: Annotated[float, Ge(1)]) -> None:
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
