"""Dynamic factor: scale exactly as far as the context reaches (dynamic NTK, emozilla 2023; YaRN, arXiv:2309.00071)."""

from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.positions.base import PositionScheme


class DynamicFactor(PositionScheme):
    """Place token m at position m, and scale by s = max(1, n / L), n being the tokens in context of that row."""

    by_length = True

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return (lengths.double() / pretrain_length).clamp(min=1)
