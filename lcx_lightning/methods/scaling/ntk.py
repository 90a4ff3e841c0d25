"""NTK-aware scaling: raise the base (bloc97 2023; described in YaRN, arXiv:2309.00071, section 3.1)."""

from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec


class NTKAware(FrequencyScaling):
    """Interpolate the slowest pair, keep the fastest: b' = b s^(d / (d - 2)) slows pair i down by s^(2i / (d - 2))."""

    def __init__(self, spec: RopeSpec) -> None:
        super().__init__(spec)
        spec.ntk_exponent()  # raises for a single pair

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        kept = self.spec.inv_freq().to(factor.device)
        return kept * factor.float()[:, None] ** -self.spec.ntk_exponent(factor.device)
