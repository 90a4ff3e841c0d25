"""A probe: a model that is given a method must first be itself under the untouched one."""

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
# Largest share that logits may be off by. In half precision stock models round their rotation, ours stays in float32.
ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.05}


@torch.no_grad()
def probe(model: "PreTrainedModel") -> Float[Tensor, "tokens vocabulary"] | None:
    """Return the logits of a few tokens, float32, or None if there are no whole weights to ask.

    Those are on the meta device, in shards, which only all ranks together could ask, or not filled yet.
    """
    if any(p.is_meta or isinstance(p, DTensor) for p in model.parameters()):
        return None
    modes = {module: module.training for module in model.modules()}
    ids = torch.linspace(1, model.config.vocab_size - 1, TOKENS, device=model.device).long()
    logits = model.eval()(ids[None], use_cache=False).logits[0].float()
    for module, training in modes.items():
        module.training = training
    return logits if logits.isfinite().all() else None


def check_untouched(model: "PreTrainedModel", stock: Float[Tensor, "tokens vocabulary"]) -> None:
    """Raise a ValueError if the model with nothing but its own rotary embedding does not give its `stock` logits."""
    own = attached(model)
    method, own.method = own.method, _untouched(own.method.scaling.spec)
    ours = probe(model)
    own.method = method
    error = float("inf") if ours is None else _error(ours, stock)
    allowed = ROUNDING.get(model.dtype, ROUNDING[torch.bfloat16])
    if error > allowed:
        raise ValueError(
            f"This {model.config.model_type} is not itself under the untouched method: its logits are off by a share "
            f"of {error:.2g}, where {allowed:.2g} is rounding. Its rotary embedding or its attention differs from "
            "those of its family. Load it again to use it as it is."
        )


def _untouched(spec: RopeSpec) -> Method:
    positions, temperature, pattern = OriginalPositions(), Constant(), Causal()
    return Method(scaling=Unscaled(spec), positions=positions, temperature=temperature, pattern=pattern).eval()


def _error(ours: Float[Tensor, "tokens vocabulary"], stock: Float[Tensor, "tokens vocabulary"]) -> float:
    """Return the error of a token's logits as a share of their spread.

    The median over the tokens: where experts are routed, rounding can send a token to another one.
    """
    spread = (stock - stock.mean(dim=-1, keepdim=True)).norm(dim=-1)
    return float(((ours - stock).norm(dim=-1) / spread.clamp(min=1e-6)).median())
