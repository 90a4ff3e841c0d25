"""The interface of a temperature: how attention logits are scaled, beside the model's own 1 / sqrt(head_dim)."""

import abc

from jaxtyping import Float, Int
from torch import Tensor


class Temperature(abc.ABC):  # noqa: B024 scaling nothing is a temperature too
    """Scale the rotated features, or the logits, or neither."""

    pretrained_at_one = True  # False if features are scaled at factor 1 too: the class says why

    def feature_scale(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return what the rotated features of queries and of keys are multiplied by; unrotated features stay."""
        return factor.new_ones(factor.shape)

    def logit_scale(
        self, visible: Int[Tensor, "rows queries"], pretrain_length: int
    ) -> Float[Tensor, "rows queries"] | None:
        """Return what the logits of each query are multiplied by, or None to leave them alone.

        Args:
            visible: The number of tokens that each query can see, itself included.
            pretrain_length: Tokens; L in the papers.
        """
        return None
