"""Grouped positions for distant tokens (Self-Extend, Jin et al. 2024, arXiv:2401.01325).

Mask of SelfExtend(window=4, group=2):

    #.......
    ##......
    ###.....
    ####....
    #####...
    =#####..
    =######.
    ===#####

Rows are queries, columns keys; `#` is seen at its true distance, `=` at that of its group, `.` not at all.
"""

from pydantic import PositiveInt
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern
from lcx_lightning.schema.checked import checked


class SelfExtend(Pattern):
    """See the last `window` tokens at their true distance, and earlier ones at the distance of their groups.

    Beyond the window, query and key are rotated to q // G + w - w // G and to k // G, with the floors of the paper. In
    the released code, w / G had no floor when a prompt was read; the authors have corrected this in the file for Llama
    of transformers 4.40, and not in the others. If w is not a multiple of G, a rotated distance can exceed the true one
    by 1.

    Args:
        window: Tokens at their true distance, the query included (distances 0 .. window - 1); the neighbour window w_n
            of the paper.
        group: Number of neighbouring positions that are read as one; the group size G_s of the paper. A context has
            at most (L - window) * group + window tokens.

    Raises:
        ValueError: If window or group is below 1.
    """

    @checked
    def __init__(self, *, window: PositiveInt, group: PositiveInt) -> None:
        self.window, self.group = window, group

    def bands(self) -> list[Band]:
        near = Band(max_distance=self.window)
        far = Band(min_distance=self.window, query_at=self._query_at, key_at=self._grouped)
        return [near, far]

    def max_context(self, pretrain_length: int) -> int | None:
        window = min(self.window, pretrain_length)
        return (pretrain_length - window) * self.group + window

    def _grouped(self, position: Tensor) -> Tensor:
        return position // self.group

    def _query_at(self, position: Tensor) -> Tensor:
        return position // self.group + (self.window - self.window // self.group)
