"""Adjusted base frequency: one larger base at every length (Xiong et al. 2023, arXiv:2309.16039, section 4.1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.schema.checked import checked


class ABF(FrequencyScaling):
    """Replace the base b by b', which slows pair i down by (b' / b)^(2i / d), at every scale factor.

    At factor 1 frequencies differ from the pretrained ones as well: the model is fine-tuned with the new base at all
    lengths.

    Args:
        spec: Rotary embedding of the checkpoint.
        base: New base b'; 500 000 in the paper, for a pretrained base of 10 000.

    Raises:
        ValueError: If the base is no number above that of the checkpoint.
    """

    pretrained_at_one = False

    @checked
    def __init__(self, spec: RopeSpec, *, base: float) -> None:
        super().__init__(spec)
        if base <= spec.base:
            raise ValueError(
                f"ABF needs a base above that of the checkpoint, {spec.base:g}, got {base:g}: set "
                "method.scaling.base to a larger one."
            )
        self.base = base

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        exponent = torch.arange(0, self.spec.dim, 2, dtype=torch.float32, device=factor.device) / self.spec.dim
        kept = self.spec.inv_freq().to(factor.device)
        return (kept * (self.base / self.spec.base) ** -exponent).expand(len(factor), -1)
