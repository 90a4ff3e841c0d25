"""Logits from hidden states: the head of a model, with its scale and soft cap."""

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**25  # largest number of logits held at once: 128 MiB in float32


def logits_of(
    model: "PreTrainedModel", hidden: Float[Tensor, "*tokens features"]
) -> Float[Tensor, "*tokens vocabulary"]:
    """Return softcap * tanh(scale * head(hidden) / softcap), float32; no family does more than this."""
    head, config = model.get_output_embeddings(), model.config
    assert head is not None
    logits = head(hidden).float()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    if scale != 1:
        logits = logits * scale
    softcap = getattr(config, "final_logit_softcapping", None)
    return logits if softcap is None else softcap * (logits / softcap).tanh()
