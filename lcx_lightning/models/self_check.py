"""A check when a method is attached: under the method `pretrained`, the logits of the model must not change."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from lcx_lightning.methods.method import Method
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.positions.original import OriginalPositions
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.methods.scaling.unscaled import Unscaled
from lcx_lightning.methods.temperature.constant import Constant
from lcx_lightning.models.attached import attached

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = 32
# Largest relative error of the logits. In half precision, transformers rounds the rotation, while ours is float32: that
# makes 0.006 and 0.05 in the 30 layers of SmolLM2-135M. There, an attention scale that is 10% off makes 0.1, and
# positions that are halved 0.6.
ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}


@torch.no_grad()
def sample_logits(model: "PreTrainedModel") -> Float[Tensor, "tokens vocabulary"] | None:
    """Return the logits of 32 tokens, float32, or None if this process cannot call the model on whole weights.

    That is the case if weights are on the meta device, not loaded yet, or sharded over ranks.
    """
    if any(p.is_meta or isinstance(p, DTensor) for p in model.parameters()):
        return None
    modes = {module: module.training for module in model.modules()}
    ids = torch.linspace(1, model.config.vocab_size - 1, TOKENS, device=model.device).long()
    logits = model.eval()(ids[None], use_cache=False).logits[0].float()
    for module, training in modes.items():
        module.training = training
    return logits if logits.isfinite().all() else None


def check_pretrained_logits(model: "PreTrainedModel", expected: Float[Tensor, "tokens vocabulary"] | None) -> None:
    """Raise a ValueError if a model does not give the expected logits, if any, under the method `pretrained`."""
    if expected is None:
        return
    attachment = attached(model)
    method, attachment.method = attachment.method, _pretrained_method(attachment.method.scaling.spec)
    ours = sample_logits(model)
    attachment.method = method
    error = float("inf") if ours is None else _error(ours, expected)
    allowed = ROUNDING.get(model.dtype, ROUNDING[torch.bfloat16])
    if error > allowed:
        raise ValueError(
            f"The logits of this {model.config.model_type} change under the method pretrained: their relative error is "
            f"{error:.2g}, and rounding explains {allowed:.2g} at most. Its rotary embedding or its attention differs "
            "from that of its family, so no method can be attached. Load the model again to use it without one."
        )


def _pretrained_method(spec: RopeSpec) -> Method:
    positions, temperature, pattern = OriginalPositions(), Constant(), Causal()
    return Method(scaling=Unscaled(spec), positions=positions, temperature=temperature, pattern=pattern).eval()


def _error(ours: Float[Tensor, "tokens vocabulary"], expected: Float[Tensor, "tokens vocabulary"]) -> float:
    """Return the error of a token's logits, relative to their spread.

    It is the median over tokens: in a mixture of experts, rounding can route a token to another expert.
    """
    spread = (expected - expected.mean(dim=-1, keepdim=True)).norm(dim=-1)
    return float(((ours - expected).norm(dim=-1) / spread.clamp(min=1e-6)).median())
