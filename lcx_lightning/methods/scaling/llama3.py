"""Scaling of Llama-3.1: NTK-by-parts with the names and bounds of its checkpoints (arXiv:2407.21783; transformers)."""

from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.methods.scaling.ntk_by_parts import interpolated_by_turns
from lcx_lightning.schema.checked import checked


class Llama3(FrequencyScaling):
    """Keep wavelengths below L / high_freq_factor, interpolate those above L / low_freq_factor, ramp in between.

    L divided by a wavelength is a number of turns, and the ramp runs over it: this is the formula of NTK-by-parts, and
    the two arguments here are its `slow` and `fast`. The Llama 3 report does not describe it; we follow the scaling
    `llama3` of transformers.

    Args:
        spec: Rotary embedding of the checkpoint.
        low_freq_factor: Turns over the pretraining length up to which a pair is interpolated; 1 in Llama-3.1.
        high_freq_factor: Turns over the pretraining length from which on a pair is kept; 4 in Llama-3.1.

    Raises:
        ValueError: If not high_freq_factor > low_freq_factor > 0.
    """

    @checked
    def __init__(self, spec: RopeSpec, *, low_freq_factor: PositiveFloat, high_freq_factor: PositiveFloat) -> None:
        super().__init__(spec)
        if high_freq_factor <= low_freq_factor:
            raise ValueError(
                f"The scaling of Llama-3 needs high_freq_factor > low_freq_factor > 0, got {high_freq_factor=} and "
                f"{low_freq_factor=}."
            )
        self.low_freq_factor, self.high_freq_factor = low_freq_factor, high_freq_factor

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        return interpolated_by_turns(self.spec, factor, fast=self.high_freq_factor, slow=self.low_freq_factor)
