"""The interface of a temperature: a scale of attention logits in addition to the model's own 1 / sqrt(head_dim)."""

import abc

from jaxtyping import Float, Int
from torch import Tensor


class Temperature(abc.ABC):  # noqa: B024 a temperature that scales nothing overrides nothing
    """A scale of the rotated features, or of the logits, or of neither."""

    pretrained_at_one = True  # False if features are scaled at factor 1 too; the class says why

    def feature_scale(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return the factor by which rotated features of queries and keys are multiplied; others keep their scale."""
        return factor.new_ones(factor.shape)

    def logit_scale(
        self, visible: Int[Tensor, "rows queries"], pretrain_length: int
    ) -> Float[Tensor, "rows queries"] | None:
        """Return the factor by which the logits of each query are multiplied, or None for 1.

        Args:
            visible: Number of tokens that each query sees, itself included.
            pretrain_length: Pretraining length in tokens; L in the papers.
        """
        return None
