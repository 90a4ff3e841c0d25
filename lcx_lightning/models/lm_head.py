"""Logits from hidden states: what a model makes of the products of its head."""

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**25  # held at once: 128 MiB of float32


def logits_of(
    model: "PreTrainedModel", hidden: Float[Tensor, "*tokens features"]
) -> Float[Tensor, "*tokens vocabulary"]:
    """Return softcap * tanh(scale * head(hidden) / softcap), float32: no family has more than these beside its head."""
    head, config = model.get_output_embeddings(), model.config
    assert head is not None
    logits = head(hidden).float()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    if scale != 1:
        logits = logits * scale
    softcap = getattr(config, "final_logit_softcapping", None)
    return logits if softcap is None else softcap * (logits / softcap).tanh()
