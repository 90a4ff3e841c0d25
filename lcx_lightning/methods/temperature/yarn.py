"""Temperature of YaRN: sharper attention for longer contexts (Peng et al. 2023, arXiv:2309.00071, section 3.4)."""

from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor

from lcx_lightning.methods.temperature.base import Temperature
from lcx_lightning.schema.checked import checked


class YaRNTemperature(Temperature):
    """Multiply the rotated features of queries and keys by sqrt(1 / t) = slope * ln(s) + 1, as transformers does.

    If a model rotates all features of a head, its logits are multiplied by 1 / t. If it rotates only some of them, the
    others keep their scale.

    Args:
        slope: Increase of the scale per unit of ln(s); 0.1 in the paper.

    Raises:
        ValueError: If slope is no number of at least 0.
    """

    @checked
    def __init__(self, *, slope: NonNegativeFloat) -> None:
        self.slope = slope

    def feature_scale(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        return self.slope * factor.log() + 1
