"""Unscaled: the rotation the checkpoint was pretrained with (RoFormer, arXiv:2104.09864)."""

from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling


class Unscaled(FrequencyScaling):
    """Keep every frequency at its pretrained value, at every scale factor."""

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        return self.spec.inv_freq().to(factor.device).expand(len(factor), -1)
