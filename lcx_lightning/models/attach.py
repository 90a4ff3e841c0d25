"""Teach a Hugging Face RoPE model a method, through documented extension points only."""

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel

from lcx_lightning.attention.dispatch import backend_of, check_backend
from lcx_lightning.attention.forward_pass import AUTO, ForwardPass
from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.overrides import with_values
from lcx_lightning.methods.rope_views import clip_bands, clip_to_window
from lcx_lightning.models.attached import NAME, Attached, attached, has_method
from lcx_lightning.models.clex_checkpoint import load_own_clex, with_own_clex
from lcx_lightning.models.families import family_of
from lcx_lightning.models.generation import generate
from lcx_lightning.models.hooks import Unrotated, attention, insert_forward_pass, leave_forward_pass, take_forward_pass
from lcx_lightning.models.rope_spec import native_windows, rope_spec
from lcx_lightning.models.self_check import check_untouched, probe

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
    sharded and saved with it. Training passes of methods that sample positions take a seed:
    `model(..., placement_seed=step)`.
    Positions follow from the attention mask: `position_ids` are ignored. A CLEX takes over the weights of a released
    CLEX checkpoint. Native windows are respected: a layer that has one sees no farther, whatever the pattern says.
    Layers without rotary embedding keep none: they see what the pattern says.

    Args:
        model: Of a supported family. It is changed in place; `detach` gives the stock model back.
        method: Name of a method, or path of a method file; several compose. Or a method that was built before.
        grow: Whether the scale factor of a method that goes by length grows with every generated token. If not,
            `generate` holds the factor of the longest length it is to reach: a cache then holds no keys, above the
            first layer, that were computed under another factor.
        attention: Name of the attention backend of all passes; "auto": the fastest one of every pass.
        values: What the method's files say, by name, to be replaced (window=4096), or leave open (factor=4).

    Raises:
        ValueError: If the model has a method already or is not supported, method or values are not what there is, or
            the model does not give its own logits under the untouched method; the model is unchanged then. In a
            forward pass, if its mask or cache is not supported.
    """
    if has_method(model):
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
    _put_on(model, method, attention, grow)
    if stock_logits is not None:
        try:
            check_untouched(model, stock_logits)
        except ValueError:
            detach(model)
            raise
    if model.can_generate():
        vars(model)["generate"] = MethodType(generate, model)
    return model


def _put_on(model: PreTrainedModel, method: Method, backend: str, grow: bool) -> None:
    base = model.base_model
    hooks = [base.register_forward_pre_hook(insert_forward_pass, with_kwargs=True)]  # pyright: ignore[reportArgumentType]
    if family_of(model.config).drops_keywords:
        hooks.append(base.register_forward_pre_hook(leave_forward_pass, with_kwargs=True))
        layers = base.get_submodule("layers").children()
        modules = [layer.get_submodule("self_attn") for layer in layers]
        hooks += [module.register_forward_pre_hook(take_forward_pass, with_kwargs=True) for module in modules]
    rotary_emb, own_attention = base.get_submodule("rotary_emb"), model.config._attn_implementation
    method.train(model.training)
    if model.device.type != "meta":  # a skeleton has nothing to stand beside
        method.to(model.device)
    base.add_module(NAME, Attached(method, rotary_emb, own_attention, hooks, backend=backend, grow=grow))
    base.rotary_emb = Unrotated(method.scaling.spec.dim)
    AttentionInterface.register(ATTENTION, attention)
    model.set_attn_implementation(ATTENTION)


def detach(model: PreTrainedModel) -> PreTrainedModel:
    """Give `model` its own rotation and attention back, without the method and its parameters, and return it.

    Weights that were trained with the method stay as they are.

    Raises:
        ValueError: If the model has no method.
    """
    own = attached(model)
    for hook in own.hooks:
        hook.remove()
    model.base_model.rotary_emb = own.rotary_emb
    model.set_attn_implementation(own.attention or "eager")
    delattr(model.base_model, NAME)
    vars(model).pop("generate", None)
    return model


def check_attention(name: str, method: Method, config: PretrainedConfig, device: str | None = None) -> None:
    """Raise a ValueError if an attention backend cannot run the method in every layer of a model.

    Args:
        name: Name of the backend, or auto.
        method: To be attached.
        config: Of the model.
        device: Type of device, None where it is not known yet.
    """
    for window in native_windows(config):
        bands, what = method.pattern.bands(), type(method.pattern).__name__
        if window is not None:
            bands, what = clip_bands(bands, window), f"{what} in layers that natively see {window} tokens"
        check_backend(name, bands, device, what)


@torch.no_grad()
def backends(model: PreTrainedModel, length: int) -> dict[str, str]:
    """Return the attention backends that read a text of `length` tokens at once, and that decode its last token.

    Where layers differ, by their native windows, all of theirs are named.
    """
    own, used = attached(model), {}
    for name, queries in (("prefill", length), ("decode", 1)):
        rope = own.method.rope(torch.ones(1, length, dtype=torch.bool, device=model.device), queries)
        forward_pass = ForwardPass(rope, backend=own.backend)
        windows = native_windows(model.config)
        names = {backend_of(forward_pass.with_rope(clip_to_window(rope, window))) for window in windows}
        used[name] = " and ".join(sorted(names))
    return used
