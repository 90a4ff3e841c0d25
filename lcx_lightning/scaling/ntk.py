"""NTK-aware scaling: raise the base (bloc97 2023; written down in YaRN, arXiv:2309.00071, section 3.1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.scaling.base import FrequencyScaling


class NTKAware(FrequencyScaling):
    """Interpolate the slowest pair, keep the fastest: b' = b s^(d / (d - 2)), so pair i slows by s^(2i / (d - 2))."""

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        kept = self.spec.inv_freq().to(factor.device)
        exponent = torch.arange(0, self.spec.dim, 2, device=factor.device) / (self.spec.dim - 2)
        return kept * factor.float()[:, None] ** -exponent
