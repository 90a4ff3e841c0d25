"""The interface of a frequency scaling: the frequency of each rotary pair as a function of the scale factor."""

import abc
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from lcx_lightning.methods.outputs import checked_output
from lcx_lightning.methods.precision import KeepsPrecision
from lcx_lightning.schema.checked import check_fields


@dataclass(frozen=True)
class RopeSpec:
    """The rotary embedding that a checkpoint was pretrained with (RoFormer, arXiv:2104.09864).

    Raises:
        ValueError: If a number makes no sense, such as a negative base.
    """

    dim: PositiveInt  # rotated features per head, even
    base: Annotated[float, Gt(1)]  # base of the frequencies, theta in configs; 10 000 for LLaMA-2
    pretrain_length: Annotated[int, Ge(2)]  # pretraining length L, tokens
    checkpoint_inv_freq: tuple[PositiveFloat, ...] | None = None  # radians per token, of a checkpoint with a scaling
    feature_scale: PositiveFloat = 1.0  # factor by which such a checkpoint multiplies its rotated queries and keys
    window: PositiveInt | None = None  # widest native window of all layers, tokens; None: some layer has no window

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dim % 2:
            raise ValueError(f"Rotated features form pairs: dim must be even, got dim={self.dim}.")

    def inv_freq(self) -> Float[Tensor, " pairs"]:
        """Return the pretrained frequencies in radians per token, float32, fastest pair first."""
        if self.checkpoint_inv_freq is not None:
            return torch.tensor(self.checkpoint_inv_freq, dtype=torch.float32)
        exponent = torch.arange(0, self.dim, 2, dtype=torch.float32) / self.dim
        return self.base**-exponent

    def ntk_exponent(self, device: torch.device | None = None) -> Float[Tensor, " pairs"]:
        """Return i / (d - 2) for i = 0, 2, 4 ... and d rotated features: 0 for the fastest pair, 1 for the slowest.

        Raises:
            ValueError: If there is only one pair.
        """
        if self.dim < 4:
            raise ValueError(
                f"NTK-aware scaling, and CLEX, which builds on it, need at least 4 rotated features per head, but this "
                f"model has {self.dim}: choose another method, such as pi or yarn."
            )
        return torch.arange(0, self.dim, 2, dtype=torch.float32, device=device) / (self.dim - 2)


class FrequencyScaling(KeepsPrecision, abc.ABC):
    """Frequencies as a function of the scale factor s = length / pretraining length.

    A scaling returns the pretrained frequencies at s = 1; otherwise it sets `pretrained_at_one` to False and says why.
    No frequency is above the pretrained one; for a learned scaling this holds before training.
    Call the module, not `inv_freq`: sharded training gathers the parameters of a learned scaling around the call.
    Its parameters are float32; a cast of the model (`model.bfloat16()`) leaves them so.

    Args:
        spec: Rotary embedding of the checkpoint.
    """

    pretrained_at_one = True

    def __init__(self, spec: RopeSpec) -> None:
        super().__init__()
        self.spec = spec

    @abc.abstractmethod
    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        """Return the frequencies in radians per token, float32, for scale factors of at least 1."""

    def start(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"] | None:
        """Return the frequencies of a learned scaling before training, without its parameters; None if not learned."""
        return None

    def forward(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        """Return `inv_freq(factor)`.

        Raises:
            MethodError: If that is no float32 tensor with a row for each factor and a frequency for each pair.
        """
        shape = (len(factor), self.spec.dim // 2)
        return checked_output(self, "inv_freq", self.inv_freq(factor), shape, torch.float32)
