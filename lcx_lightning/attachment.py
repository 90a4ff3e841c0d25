"""Teach a Hugging Face RoPE model a method, through documented extension points only."""

import inspect
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, PreTrainedModel

from lcx_lightning.attention.attend import attend
from lcx_lightning.attention.rope import Rope
from lcx_lightning.clex_checkpoint import load_own_clex
from lcx_lightning.configs import build_method, read_method
from lcx_lightning.configs.values import with_values
from lcx_lightning.method import Method
from lcx_lightning.models import rope_spec

ATTENTION = "lcx"


def attach(
    model: PreTrainedModel, method: Method | str | Sequence[str], *, grow: bool = False, **values: Any
) -> PreTrainedModel:
    """Make every forward pass of `model` use `method`, and return `model`.

    The model's own rotation becomes the identity, so its cache holds unrotated keys; a forward pre-hook hands each
    attention layer one `Rope`. The parameters of the method become parameters of the model: they are trained,
    sharded and saved with it. Training passes of methods that sample positions take a seed: `model(..., draw=step)`.
    Positions follow from the attention mask: `position_ids` are ignored. A CLEX takes over the weights of a released
    CLEX checkpoint.

    Args:
        model: Of a supported family. It is changed in place; `detach` gives the stock model back.
        method: Name of a method, or path of a method file; several compose. Or a method that was built before.
        grow: Whether the scale factor of a method that goes by length grows with every generated token. If not,
            `generate` holds the factor of the longest length it is to reach: a cache then holds no keys, above the
            first layer, that were computed under another factor.
        values: What the method's files say, by name, to be replaced (window=4096), or leave open (factor=4).

    Raises:
        ValueError: If the model has a method already or is not supported, or method or values are not what there is;
            the model is unchanged then. In a forward pass, if its mask or cache is not supported.
    """
    base = model.base_model
    if hasattr(base, "method"):
        raise ValueError(
            "The model has a method already: detach(model) gives the stock model back; to compose methods, attach a "
            "list of them."
        )
    if not isinstance(method, Method):
        spec = rope_spec(model.config)
        method = build_method(with_values(read_method(method), spec.pretrain_length, values), spec)
    elif values:
        raise ValueError(f"A built method has its values: {', '.join(values)} would be ignored. Attach it by name.")
    load_own_clex(method.scaling, model)
    AttentionInterface.register(ATTENTION, _attention)
    hook = base.register_forward_pre_hook(_insert_rope, with_kwargs=True)
    stock = Stock(base.get_submodule("rotary_emb"), model.config._attn_implementation, hook)
    base.rotary_emb = Unrotated(method.scaling.spec.dim, stock)
    base.add_module("method", method.train(model.training))
    if model.device.type != "meta":  # a skeleton has nothing to stand beside
        method.to(model.device)
    model.set_attn_implementation(ATTENTION)
    if not grow and model.can_generate():
        vars(model)["generate"] = MethodType(_generate, model)
    return model


def detach(model: PreTrainedModel) -> PreTrainedModel:
    """Give `model` its own rotation and attention back, without the method and its parameters, and return it.

    Weights that were trained with the method stay as they are.

    Raises:
        ValueError: If the model has no method.
    """
    base = model.base_model
    if not hasattr(base, "method"):
        raise ValueError("The model has no method to detach: attach one first.")
    stock: Stock = base.rotary_emb.stock  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    stock.hook.remove()
    base.rotary_emb = stock.rotary_emb
    model.set_attn_implementation(stock.attention or "eager")
    del base.method
    vars(model).pop("generate", None)
    return model


class Stock(nn.Module):
    """What a method takes the place of. A module, so that a moved model finds it on the right device."""

    def __init__(self, rotary_emb: nn.Module, attention: str | None, hook: RemovableHandle) -> None:
        super().__init__()
        self.rotary_emb, self.attention, self.hook = rotary_emb, attention, hook


class Unrotated(nn.Module):
    """The identity rotation, in the place of a model's rotary embedding."""

    def __init__(self, dim: int, stock: Stock) -> None:
        super().__init__()
        self.dim, self.stock = dim, stock

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
    to_come = max(vars(base).get("planned_length", 0) - mask.shape[1], 0)
    return args, kwargs | {"rope": method.rope(mask.bool(), queries, draw, to_come)}


def _generate(model: PreTrainedModel, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
    """Call the model's own `generate`, every pass of which has the scale factor of the last one."""
    base = model.base_model
    vars(base)["planned_length"] = _planned_length(model, inputs, *args, **kwargs)
    try:
        return type(model).generate(model, inputs, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        del vars(base)["planned_length"]


def _planned_length(
    model: PreTrainedModel, inputs: Tensor | None = None, generation_config: Any = None, *_: Any, **kwargs: Any
) -> int:
    """Return the tokens in context at the end of a generation, padding included; 0 if nobody said how many."""
    prompts = (inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
    prompt = max((given.shape[1] for given in prompts if given is not None), default=1)
    settings = vars(generation_config or model.generation_config) | kwargs
    if settings.get("max_new_tokens") is not None:
        return prompt + settings["max_new_tokens"]
    return settings.get("max_length") or 0


def _attention(
    module: Any,
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
    depth = (module.layer_idx + 1) / module.config.num_hidden_layers
    return attend(q, k, v, rope, scaling, depth).transpose(1, 2), None
