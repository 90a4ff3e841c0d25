"""Dynamic factor: scale exactly as far as the context reaches (dynamic NTK, emozilla 2023; YaRN, arXiv:2309.00071)."""

from jaxtyping import Int
from torch import Tensor

from lcx_lightning.positions.base import Placement, PositionScheme, consecutive


class DynamicFactor(PositionScheme):
    """Place token m at position m, and scale by s = max(1, n / L), n being the tokens in context of that row."""

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, draw: int | None) -> Placement:
        return Placement((lengths.double() / pretrain_length).clamp(min=1), consecutive(lengths))
