"""Original positions: those of pretraining, at every length (RoFormer, arXiv:2104.09864)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.positions.base import PositionScheme


class OriginalPositions(PositionScheme):
    """Place token m at position m, and scale nothing."""

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return lengths.new_ones(1, dtype=torch.float64)
