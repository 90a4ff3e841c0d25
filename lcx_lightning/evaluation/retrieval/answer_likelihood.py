"""Given answers to prompts: their likelihood, and whether the model would generate them itself."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from lcx_lightning.models import lm_head
from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.models.generation import one_factor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def given_answers(
    model: "PreTrainedModel", prompts: Int[Tensor, "rows tokens"], answers: Int[Tensor, "rows answer"]
) -> tuple[Float[Tensor, "rows answer"], Bool[Tensor, "rows answer"]]:
    """Return the negative log-likelihood in nats of each token of the answers, and whether it is the likeliest there.

    Prompts are read at once, into the smallest cache, and answers token by token, every pass at the scale factor of
    the whole text, as in generation. If all tokens of an answer are the likeliest, greedy generation gives the same
    answer, because up to the first other token both have read the same.
    """
    cache, read, losses, right = smallest_cache(model, fixed_factor=True), prompts, [], []
    with one_factor(model, prompts.shape[1] + answers.shape[1]):
        for wanted in answers.T:
            hidden = model.base_model(input_ids=read, past_key_values=cache, use_cache=True).last_hidden_state
            logits = lm_head.logits_of(model, hidden[:, -1])
            losses.append(cross_entropy(logits, wanted, reduction="none"))
            right.append(logits.argmax(dim=-1) == wanted)
            read = wanted[:, None]
    return torch.stack(losses, dim=1), torch.stack(right, dim=1)
