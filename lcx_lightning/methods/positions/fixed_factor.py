"""Fixed factor: one scale factor for every length (Position Interpolation, arXiv:2306.15595)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.checks import number
from lcx_lightning.methods.positions.base import PositionScheme


class FixedFactor(PositionScheme):
    """Place token m at position m, and scale by the same factor at every length of the context.

    Args:
        factor: Scale factor s, the target length over the pretraining length; L'/L in the paper.

    Raises:
        ValueError: If factor is below 1.
    """

    def __init__(self, *, factor: float) -> None:
        self.factor = number("factor", factor, least=1)

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return lengths.new_full((1,), self.factor, dtype=torch.float64)
