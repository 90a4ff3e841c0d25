"""Teach a Hugging Face RoPE model a method, through documented extension points only."""

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel

from lcx_lightning.attention.attend import check_implementation, implementation_of
from lcx_lightning.attention.layer import ends_at, within
from lcx_lightning.attention.rope import AUTO
from lcx_lightning.clex_checkpoint import load_own_clex, with_own_clex
from lcx_lightning.configs import build_method, read_method
from lcx_lightning.configs.values import with_values
from lcx_lightning.families import family_of
from lcx_lightning.generation import generate_at_one_factor
from lcx_lightning.method import Method
from lcx_lightning.models import native_windows, rope_spec
from lcx_lightning.passes import Unrotated, attention, insert_rope, leave_rope, take_rope
from lcx_lightning.probe import check_untouched, probe

ATTENTION = "lcx"


def attach(
    model: PreTrainedModel,
    method: Method | str | Sequence[str],
    *,
    grow: bool = False,
    attention: str = AUTO,
    **values: Any,
) -> PreTrainedModel:
    """Make every forward pass of `model` use `method`, and return `model`.

    The model's own rotation becomes the identity, so its cache holds unrotated keys; a forward pre-hook hands each
    attention layer one `Rope`. The parameters of the method become parameters of the model: they are trained,
    sharded and saved with it. Training passes of methods that sample positions take a seed: `model(..., draw=step)`.
    Positions follow from the attention mask: `position_ids` are ignored. A CLEX takes over the weights of a released
    CLEX checkpoint. Native windows are respected: a layer that has one sees no farther, whatever the pattern says.
    Layers without rotary embedding keep none: they see what the pattern says.

    Args:
        model: Of a supported family. It is changed in place; `detach` gives the stock model back.
        method: Name of a method, or path of a method file; several compose. Or a method that was built before.
        grow: Whether the scale factor of a method that goes by length grows with every generated token. If not,
            `generate` holds the factor of the longest length it is to reach: a cache then holds no keys, above the
            first layer, that were computed under another factor.
        attention: Implementation of attention: "auto" for the fastest one of every pass, or the name of one for all.
        values: What the method's files say, by name, to be replaced (window=4096), or leave open (factor=4).

    Raises:
        ValueError: If the model has a method already or is not supported, method or values are not what there is, or
            the model does not give its own logits under the untouched method; the model is unchanged then. In a
            forward pass, if its mask or cache is not supported.
    """
    base = model.base_model
    if hasattr(base, "method"):
        raise ValueError(
            "The model has a method already: detach(model) gives the stock model back; to compose methods, attach a "
            "list of them."
        )
    family_of(model.config)  # before a pass of it
    if not isinstance(method, Method):
        spec = rope_spec(model.config)
        composed = with_own_clex(read_method(method), model.config)
        method = build_method(with_values(composed, spec.pretrain_length, values), spec)
    elif values:
        raise ValueError(f"A built method has its values: {', '.join(values)} would be ignored. Attach it by name.")
    check_attention(attention, method, model.config)
    load_own_clex(method.scaling, model)
    stock_logits = probe(model)
    _put_on(model, method)
    if stock_logits is not None:
        try:
            check_untouched(model, stock_logits)
        except ValueError:
            detach(model)
            raise
    vars(model.base_model)["implementation"] = attention
    if not grow and model.can_generate():
        vars(model)["generate"] = MethodType(generate_at_one_factor, model)
    return model


def _put_on(model: PreTrainedModel, method: Method) -> None:
    base = model.base_model
    hooks = [base.register_forward_pre_hook(insert_rope, with_kwargs=True)]  # pyright: ignore[reportArgumentType]
    if family_of(model.config).drops_keywords:
        hooks.append(base.register_forward_pre_hook(leave_rope, with_kwargs=True))
        layers = base.get_submodule("layers").children()
        modules = [layer.get_submodule("self_attn") for layer in layers]
        hooks += [module.register_forward_pre_hook(take_rope, with_kwargs=True) for module in modules]
    base.add_module("stock", Stock(base.get_submodule("rotary_emb"), model.config._attn_implementation, hooks))
    base.rotary_emb = Unrotated(method.scaling.spec.dim)
    base.add_module("method", method.train(model.training))
    if model.device.type != "meta":  # a skeleton has nothing to stand beside
        method.to(model.device)
    AttentionInterface.register(ATTENTION, attention)
    model.set_attn_implementation(ATTENTION)


def detach(model: PreTrainedModel) -> PreTrainedModel:
    """Give `model` its own rotation and attention back, without the method and its parameters, and return it.

    Weights that were trained with the method stay as they are.

    Raises:
        ValueError: If the model has no method.
    """
    base = model.base_model
    if not hasattr(base, "method"):
        raise ValueError("The model has no method to detach: attach one first.")
    stock: Stock = base.stock  # pyright: ignore[reportAssignmentType]
    for hook in stock.hooks:
        hook.remove()
    base.rotary_emb = stock.rotary_emb
    model.set_attn_implementation(stock.attention or "eager")
    del base.method, base.stock
    vars(base).pop("implementation", None)
    for name in ("context", "alone"):
        vars(base).pop(name, None)
    vars(model).pop("generate", None)
    return model


def check_attention(name: str, method: Method, config: PretrainedConfig, device: str | None = None) -> None:
    """Raise a ValueError if an implementation of attention cannot run the method in every layer of a model.

    Args:
        name: Of the implementation, or auto.
        method: To be attached.
        config: Of the model.
        device: Type of device, None where it is not known yet.
    """
    for window in native_windows(config):
        bands, what = method.pattern.bands(), type(method.pattern).__name__
        if window is not None:
            bands, what = ends_at(bands, window), f"{what} in layers that natively see {window} tokens"
        check_implementation(name, bands, device, what)


@torch.no_grad()
def implementations(model: PreTrainedModel, length: int) -> dict[str, str]:
    """Return which implementations of attention read a text of `length` at once, and which decode its last token.

    Where layers differ, by their native windows, all of theirs are named.
    """
    method: Method = model.base_model.method  # pyright: ignore[reportAssignmentType]
    used = {}
    for name, queries in (("prefill", length), ("decode", 1)):
        rope = method.rope(torch.ones(1, length, dtype=torch.bool, device=model.device), queries)
        rope.implementation = vars(model.base_model)["implementation"]
        names = {implementation_of(within(rope, window)) for window in native_windows(model.config)}
        used[name] = " and ".join(sorted(names))
    return used


class Stock(nn.Module):
    """What a method takes the place of. A module, so that a moved model finds it on the right device."""

    def __init__(self, rotary_emb: nn.Module, attention: str | None, hooks: list[RemovableHandle]) -> None:
        super().__init__()
        self.rotary_emb, self.attention, self.hooks = rotary_emb, attention, hooks
