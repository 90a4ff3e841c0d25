"""NTK-by-parts: interpolate by the number of turns (bloc97 2023; YaRN, arXiv:2309.00071, section 3.2)."""

import math

from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.schema.checked import checked


class NTKByParts(FrequencyScaling):
    """Keep the pairs that turn often, interpolate those that hardly turn: h(theta) = (1 - g) theta / s + g theta.

    As in the paper, the ramp g runs over r, the number of turns over the pretraining length. In YaRN's released code it
    runs over pair indices: that is `lcx_lightning.scaling.YaRN`.

    Args:
        spec: Rotary embedding of the checkpoint.
        fast: Turns over the pretraining length from which on a pair is kept; beta in the paper, 32 there.
        slow: Turns over the pretraining length up to which a pair is interpolated; alpha in the paper, 1 there.

    Raises:
        ValueError: If not fast > slow >= 0.
    """

    @checked
    def __init__(self, spec: RopeSpec, *, fast: PositiveFloat, slow: NonNegativeFloat) -> None:
        super().__init__(spec)
        if fast <= slow:
            raise ValueError(f"NTK-by-parts needs fast > slow >= 0 turns, got fast={fast} and slow={slow}.")
        self.fast, self.slow = fast, slow

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        return interpolated_by_turns(self.spec, factor, self.fast, self.slow)


def interpolated_by_turns(
    spec: RopeSpec, factor: Float[Tensor, " rows"], fast: float, slow: float
) -> Float[Tensor, "rows pairs"]:
    """Return (1 - g) theta / s + g theta, with g = clamp((r - slow) / (fast - slow), 0, 1) and r = L theta / 2 pi.

    Args:
        spec: Rotary embedding of the checkpoint.
        factor: Scale factor s of each row.
        fast: Turns over the pretraining length from which on a pair is kept.
        slow: Turns over the pretraining length up to which a pair is interpolated.
    """
    kept = spec.inv_freq().to(factor.device)
    turns = spec.pretrain_length * kept / (2 * math.pi)
    share = ((turns - slow) / (fast - slow)).clamp(0, 1)
    return kept * (share + (1 - share) / factor.float()[:, None])
