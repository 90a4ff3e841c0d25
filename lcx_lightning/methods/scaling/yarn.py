"""Frequencies of YaRN: interpolate by wavelength (Peng et al. 2023, arXiv:2309.00071, section 3.2)."""

import math
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.schema.checked import checked


class YaRN(FrequencyScaling):
    """Keep the fast pairs, interpolate the slow ones, ramp linearly over the pairs in between.

    We follow the released code, where the ramp runs over pair indices, rounded outwards; in the paper it runs over the
    number of turns. The temperature of YaRN is another part of the method: `lcx_lightning.temperature.YaRNTemperature`.

    Args:
        spec: Rotary embedding of the checkpoint.
        fast: Turns over the pretraining length above which a pair is kept; beta in the paper, 32 there.
        slow: Turns over the pretraining length below which a pair is interpolated; alpha in the paper, 1 there.

    Raises:
        ValueError: If not fast > slow >= 10^-6.
    """

    @checked
    def __init__(self, spec: RopeSpec, *, fast: PositiveFloat, slow: Annotated[float, Ge(1e-6)]) -> None:
        super().__init__(spec)
        if fast <= slow:
            raise ValueError(f"YaRN needs fast > slow > 0 turns, got fast={fast} and slow={slow}.")
        self.fast, self.slow = fast, slow

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        kept = self.spec.inv_freq().to(factor.device)
        first = max(math.floor(self._pair_with_turns(self.fast)), 0)
        last = min(math.ceil(self._pair_with_turns(self.slow)), self.spec.dim - 1)
        pair = torch.arange(len(kept), dtype=torch.float32, device=factor.device)
        interpolated = ((pair - first) / max(last - first, 1e-3)).clamp(0, 1)  # 0 keeps, 1 interpolates
        return torch.lerp(kept.expand(len(factor), -1), kept / factor.float()[:, None], interpolated)

    def _pair_with_turns(self, turns: float) -> float:
        """Return the fractional index of the pair that makes `turns` turns over the pretraining length."""
        spec = self.spec
        return spec.dim * math.log(spec.pretrain_length / (turns * 2 * math.pi)) / (2 * math.log(spec.base))
