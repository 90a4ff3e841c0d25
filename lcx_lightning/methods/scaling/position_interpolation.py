"""Position Interpolation: slow every pair down by the same factor (Chen et al. 2023, arXiv:2306.15595)."""

from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling


class PositionInterpolation(FrequencyScaling):
    """Read position m as m / s: f'(x, m) = f(x, m / s), equation 4."""

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        return self.spec.inv_freq().to(factor.device) / factor.float()[:, None]
