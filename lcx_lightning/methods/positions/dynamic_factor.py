"""Dynamic factor: scale only as far as the context needs (dynamic NTK, emozilla 2023; YaRN, arXiv:2309.00071)."""

from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.positions.base import PositionScheme


class DynamicFactor(PositionScheme):
    """Place token m at position m, and scale by s = max(1, n / L), where n is the number of tokens in the row.

    In a generation n is the planned length from the start, so that the answer depends on the number of tokens that are
    asked for, or with `grow` the current length, as in transformers' own dynamic scaling.
    """

    length_dependent = True

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return (lengths.double() / pretrain_length).clamp(min=1)
