"""The interface of a frequency scaling: how fast each rotary pair turns when the context is stretched by a factor."""

import abc
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class RopeSpec:
    """The rotary embedding a checkpoint was pretrained with (RoFormer, arXiv:2104.09864)."""

    dim: int  # rotated features per head, even
    base: float  # theta of RoFormer; 10 000 for LLaMA-2
    pretrain_length: int  # tokens; L in the papers
    own_inv_freq: tuple[float, ...] | None = None  # radians per token, of a checkpoint that carries a scaling
    feature_scale: float = 1.0  # what such a checkpoint multiplies its rotated queries and keys by
    window: int | None = None  # tokens that even the layer that sees farthest is limited to natively; None: no limit

    def inv_freq(self) -> Float[Tensor, " pairs"]:
        """Return the pretrained frequencies in radians per token, float32, fastest pair first."""
        if self.own_inv_freq is not None:
            return torch.tensor(self.own_inv_freq, dtype=torch.float32)
        exponent = torch.arange(0, self.dim, 2, dtype=torch.float32) / self.dim
        return self.base**-exponent

    def ntk_exponent(self, device: torch.device | None = None) -> Float[Tensor, " pairs"]:
        """Return i / (d - 2), i = 0, 2, 4 ... for d rotated features: 0 of the fastest pair, 1 of the slowest.

        Raises:
            ValueError: If there is one pair, which would be both.
        """
        if self.dim < 4:
            raise ValueError(
                f"NTK-aware scaling, and CLEX on it, need 4 rotated features a head, this model has {self.dim}: choose "
                "another method, such as pi or yarn."
            )
        return torch.arange(0, self.dim, 2, dtype=torch.float32, device=device) / (self.dim - 2)


class FrequencyScaling(nn.Module, abc.ABC):
    """Frequencies as a function of the scale factor s = length / pretraining length.

    A scaling returns the pretrained frequencies at s = 1, or sets `pretrained_at_one` to False and says why not. Before
    a learned one has learned, it never turns a pair faster than pretraining did.
    Call the module, not `inv_freq`: sharded training gathers the parameters of a learned scaling around the call.

    Args:
        spec: The rotary embedding of the checkpoint.
    """

    pretrained_at_one = True

    def __init__(self, spec: RopeSpec) -> None:
        super().__init__()
        self.spec = spec

    @abc.abstractmethod
    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        """Return frequencies in radians per token, float32, for scale factors of at least 1."""

    def start(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"] | None:
        """Return what `inv_freq` was before anything was learned, None if nothing learns. It needs no parameters."""
        return None

    def forward(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        """Return `inv_freq(factor)`."""
        return self.inv_freq(factor)
