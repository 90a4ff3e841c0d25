"""Teach a Hugging Face RoPE model a method, through documented extension points only."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AttentionInterface, PreTrainedModel

from lcx_lightning.attention.attend import attend
from lcx_lightning.attention.layer import half_split, latest, unrotated, within
from lcx_lightning.attention.rope import Rope
from lcx_lightning.families import FAMILIES, family_of
from lcx_lightning.method import Method
from lcx_lightning.patterns.causal import Causal
from lcx_lightning.positions.original import OriginalPositions
from lcx_lightning.scaling.base import RopeSpec
from lcx_lightning.scaling.unscaled import Unscaled
from lcx_lightning.temperature.constant import Constant

ATTENTION = "lcx"
PROBE_TOKENS = 12
# Largest relative error of the logits. Stock models rotate in the dtype of the weights, we do in float32.
PROBE_ERROR = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}


def attach(model: PreTrainedModel, method: Method) -> PreTrainedModel:
    """Make every forward pass of `model` use `method`, and return `model`.

    The model's own rotation becomes the identity, so its cache holds unrotated keys; a forward pre-hook hands each
    attention layer one `Rope`. The parameters of the method become parameters of the model: they are trained,
    sharded and saved with it. Training passes of methods that sample positions take a seed: `model(..., draw=step)`.
    Positions follow from the attention mask: `position_ids` are ignored.
    Native windows are respected: a layer that has one sees no farther, whatever the pattern says. Layers without
    rotary embedding keep none: they see what the pattern says.

    Raises:
        ValueError: If the model has a method already, is not supported, or does not give its own logits under the
            untouched method; in a forward pass, if its mask or cache is not supported.
    """
    base = model.base_model
    if hasattr(base, "method"):
        raise ValueError("The model has a method already: load it again, or attach the composed method in one go.")
    family, stock = family_of(model.config), _probe(model)
    AttentionInterface.register(ATTENTION, _attention)
    base.rotary_emb = Unrotated(method.scaling.spec.dim)
    base.add_module("method", method)
    base.register_forward_pre_hook(_insert_rope, with_kwargs=True)
    if family.drops_keywords:
        for layer in base.get_submodule("layers").children():
            layer.register_forward_pre_hook(_leave_rope, with_kwargs=True)
    model.set_attn_implementation(ATTENTION)
    if stock is not None:
        _check_untouched(model, stock)
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


def _leave_rope(layer: Any, _args: tuple, kwargs: dict) -> None:
    """Leave the `Rope` of this pass with the attention of a layer that would not hand it on."""
    if "rope" in kwargs:
        layer.self_attn.rope = kwargs["rope"]


def _attention(
    module: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float,
    rope: Rope | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    rope = rope or module.__dict__.pop("rope")
    assert rope is not None
    slots, keys = k.shape[2], rope.key_index.shape[1]
    held = keys if sliding_window is None else min(keys, sliding_window - 1 + q.shape[2])  # by a sliding cache
    if slots not in (keys, held):
        raise ValueError(f"This cache hands out {slots} keys for {keys} tokens: use one that grows, as DynamicCache.")
    rope = latest(within(rope, sliding_window), slots)
    if not getattr(module, "use_rope", True):
        rope = unrotated(rope)
    elif FAMILIES[module.config.model_type].interleaved:
        q, k = (half_split(x, rope.inv_freq.shape[-1]) for x in (q, k))
    return attend(q, k, v, rope, scaling).transpose(1, 2), None


@torch.no_grad()
def _probe(model: PreTrainedModel) -> Tensor | None:
    """Return the logits of a few tokens, float32, [tokens, vocabulary]; None if there are no whole weights to ask.

    They are on the meta device, in shards, which a single pass would have to gather, or not filled yet.
    """
    if any(p.is_meta or isinstance(p, DTensor) for p in model.parameters()):
        return None
    training = {module: module.training for module in model.modules()}
    ids = torch.linspace(0, model.config.vocab_size - 1, PROBE_TOKENS, device=model.device).long()
    logits = model.eval()(ids[None], use_cache=False).logits[0].float()
    for module, mode in training.items():
        module.training = mode
    return logits if logits.isfinite().all() else None


def _check_untouched(model: PreTrainedModel, stock: Tensor) -> None:
    """Raise a ValueError if the model with nothing but its own rotary embedding does not give its `stock` logits."""
    base = model.base_model
    method: Method = base.method  # pyright: ignore[reportAssignmentType]
    base.method = _untouched(method.scaling.spec)
    ours = _probe(model)
    base.method = method
    scale = (stock - stock.mean(dim=-1, keepdim=True)).norm(dim=-1)
    # the median: where experts are routed, a token can fall to another one by rounding
    error = float("inf") if ours is None else float(((ours - stock).norm(dim=-1) / scale.clamp(min=1e-12)).median())
    if error > PROBE_ERROR[model.dtype]:
        raise ValueError(
            f"This {model.config.model_type} is not itself under the untouched method: its logits are off by a share "
            f"of {error:.2g}, where {PROBE_ERROR[model.dtype]:.2g} is rounding. Its rotary embedding or its attention "
            "differs from those of its family. Load it again to use it as it is."
        )


def _untouched(spec: RopeSpec) -> Method:
    parts = {"positions": OriginalPositions(), "temperature": Constant(), "pattern": Causal()}
    return Method(scaling=Unscaled(spec), **parts).eval()
