"""Teach a Hugging Face RoPE model a method, through documented extension points only."""

import inspect

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from lcx_lightning.attention.attend import attend
from lcx_lightning.attention.rope import Rope
from lcx_lightning.method import Method

ATTENTION = "lcx"


def attach(model: PreTrainedModel, method: Method) -> PreTrainedModel:
    """Make every forward pass of `model` use `method`, and return `model`.

    The model's own rotation becomes the identity, so its cache holds unrotated keys; a forward pre-hook hands each
    attention layer one `Rope`. The parameters of the method become parameters of the model: they are trained,
    sharded and saved with it. Training passes of methods that sample positions take a seed: `model(..., draw=step)`.
    Positions follow from the attention mask: `position_ids` are ignored.

    Raises:
        ValueError: If the model has a method already; in a forward pass, if its mask or cache is not supported.
    """
    base = model.base_model
    if hasattr(base, "method"):
        raise ValueError("The model has a method already: load it again, or attach the composed method in one go.")
    AttentionInterface.register(ATTENTION, _attention)
    base.rotary_emb = Unrotated(method.scaling.spec.dim)
    base.add_module("method", method)
    base.register_forward_pre_hook(_insert_rope, with_kwargs=True)
    model.set_attn_implementation(ATTENTION)
    return model


class Unrotated(nn.Module):
    """The identity rotation, in the place of a model's rotary embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines of 1 and sines of 0, [batch, tokens, dim]."""
        shape = (*position_ids.shape, self.dim)
        return x.new_ones(shape), x.new_zeros(shape)


def _insert_rope(base: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Add the `Rope` of this forward pass to the arguments that reach every attention layer."""
    draw = kwargs.pop("draw", None)
    given = inspect.signature(base.forward).bind(*args, **kwargs).arguments
    given |= given.pop("kwargs", {})
    tokens = given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]
    cache, mask, queries = given.get("past_key_values"), given.get("attention_mask"), tokens.shape[1]
    if mask is None or bool(mask.all()):
        keys = queries + (0 if cache is None else cache.get_seq_length())
        mask = torch.ones(1, keys, dtype=torch.bool, device=tokens.device)
    if mask.ndim != 2:
        raise ValueError(
            f"A mask says which keys are padding, [batch, keys]: this one has the shape {list(mask.shape)}."
        )
    method: Method = base.method  # pyright: ignore[reportAssignmentType]
    return args, kwargs | {"rope": method.rope(mask.bool(), queries, draw)}


def _attention(
    _module: nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float,
    rope: Rope,
    **_: object,
) -> tuple[Tensor, None]:
    slots, keys = k.shape[2], rope.key_index.shape[1]
    if slots != keys:
        raise ValueError(f"This cache hands out {slots} keys for {keys} tokens: use one that grows, as DynamicCache.")
    return attend(q, k, v, rope, scaling).transpose(1, 2), None
