"""Original positions: those of pretraining, at every length (RoFormer, arXiv:2104.09864)."""

from jaxtyping import Int
from torch import Tensor

from lcx_lightning.positions.base import Placement, PositionScheme, consecutive


class OriginalPositions(PositionScheme):
    """Place token m at position m, and scale nothing."""

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, draw: int | None) -> Placement:
        positions = consecutive(lengths)
        return Placement(positions.new_ones(1), positions)
