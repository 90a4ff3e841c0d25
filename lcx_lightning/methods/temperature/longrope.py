"""LongRoPE's temperature: sharper attention, as far as the model is to reach (arXiv:2402.13753; transformers)."""

import math

from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.temperature.base import Temperature


class LongRoPETemperature(Temperature):
    """Multiply the rotated features of queries and keys by sqrt(1 + ln(s) / ln(L)), at every length.

    As in transformers and the released checkpoints, s is the factor that the model was extended by, not that of the
    context at hand: a short context has it too. At factor 1 of the context this is therefore not pretraining.

    Args:
        factor: s, target length over pretraining length.
        pretrain_length: Tokens; L.

    Raises:
        ValueError: If factor is below 1 or pretrain_length below 2.
    """

    pretrained_at_one = False

    def __init__(self, *, factor: float, pretrain_length: int) -> None:
        if factor < 1 or pretrain_length < 2:
            raise ValueError(
                f"LongRoPE's temperature needs factor >= 1 and pretrain_length >= 2, got {factor=}, {pretrain_length=}."
            )
        self.scale = math.sqrt(1 + math.log(factor) / math.log(pretrain_length))

    def feature_scale(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        return factor.new_full(factor.shape, self.scale)
