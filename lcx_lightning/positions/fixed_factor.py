"""Fixed factor: one scale factor for every length (Position Interpolation, arXiv:2306.15595)."""

from jaxtyping import Int
from torch import Tensor

from lcx_lightning.positions.base import Placement, PositionScheme, check_factor, consecutive


class FixedFactor(PositionScheme):
    """Place token m at position m, and scale by the same factor however long the context is.

    Args:
        factor: s, target length over pretraining length; L'/L in the paper.

    Raises:
        ValueError: If factor is below 1.
    """

    def __init__(self, *, factor: float) -> None:
        check_factor(factor)
        self.factor = factor

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, draw: int | None) -> Placement:
        positions = consecutive(lengths)
        return Placement(positions.new_full((1,), self.factor), positions)
