"""Fixed factor: one scale factor for every length (Position Interpolation, arXiv:2306.15595)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.positions.base import PositionScheme
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Factor


class FixedFactor(PositionScheme):
    """Place token m at position m, and scale by the same factor at every length of the context.

    Args:
        factor: Scale factor s, the target length over the pretraining length; L'/L in the paper.

    Raises:
        ValueError: If factor is below 1.
    """

    @checked
    def __init__(self, *, factor: Factor) -> None:
        self.factor = factor

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return lengths.new_full((1,), self.factor, dtype=torch.float64)
