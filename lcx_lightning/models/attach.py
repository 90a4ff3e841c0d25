"""Attach a method to a Hugging Face RoPE model, through documented extension points of transformers only."""

import os
from functools import partial
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from lcx_lightning.attention.dispatch import backend_of, check_backend
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.names import AUTO
from lcx_lightning.methods.library import Names, build_method, own_files, own_modules, read_method
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.overrides import with_values
from lcx_lightning.methods.rope_views import clip_bands, clip_to_window
from lcx_lightning.methods.trial import try_out
from lcx_lightning.models.attached import NAME, Attached, attached, has_method
from lcx_lightning.models.clex_checkpoint import grows, load_own_clex, with_own_clex
from lcx_lightning.models.families import family_of
from lcx_lightning.models.generation import generate
from lcx_lightning.models.hooks import (
    ATTENTION,
    InsertForwardPass,
    Unrotated,
    check_own_config,
    leave_forward_pass,
    take_forward_pass,
)
from lcx_lightning.models.rope_spec import native_windows, rope_spec
from lcx_lightning.models.saving import save_pretrained
from lcx_lightning.models.self_check import check_pretrained_logits, sample_logits
from lcx_lightning.schema.yaml_files import naming_yaml


def attach(
    model: PreTrainedModel,
    method: Method | Names,
    *,
    grow: bool | None = None,
    attention: str = AUTO,
    **values: Any,
) -> PreTrainedModel:
    """Return `model`, changed in place so that every forward pass uses `method`.

    The model's own rotary embedding is replaced by the identity, so that its cache holds unrotated keys, and a forward
    pre-hook passes one `Rope` to every attention layer. The parameters of the method become parameters of the model:
    they are trained, sharded and saved with it. If the method samples positions, a training pass takes a seed:
    `model(..., placement_seed=step)`. Schemes that sample every row by itself number the rows from 0, unless the pass
    is one of several of a step: then `placement_rows` has the number of each row in the batch of the step.

    Positions are computed from the attention mask: `position_ids` are ignored. On a released CLEX checkpoint, the
    method CLEX gets the checkpoint's ODE weights. Native windows are respected: a layer that has one sees no farther,
    whatever the pattern says. Layers without rotary embedding still have none, and see what the pattern shows them.
    Copies of the model, by `copy.deepcopy`, `pickle` or `torch.save(model)`, have methods of their own.
    `save_pretrained` saves the model without its method, and warns; weights that the method learned are beside it, in
    `lcx_method.pt`. Adapters must be merged first.

    Args:
        model: Model of a supported family. `detach` restores the original model.
        method: Name of a method, path of a method file, a list of these to compose, or a `Method`.
        grow: Whether the scale factor of a length-dependent method grows with every generated token. If False,
            `generate` uses the factor of the planned final length from the start, so that the cache never holds keys
            that were computed under another factor; the answer then depends on `max_new_tokens`. None: True for the
            CLEX of a released checkpoint, as in its code, else False.
        attention: Name of the attention backend for all passes, or "auto" for the fastest one in every pass.
        values: Values of the method by name: settings to replace (window=4096), and open values (factor=4).

    Raises:
        ValueError: If the model already has a method or is not supported, if the method or a value is unknown, or if
            the model's logits change under the method `pretrained`. The model is unchanged then. Later, in a forward
            pass, if its mask or cache is not supported.
    """
    _check_free(model)
    family_of(model.config)  # raises before the model is called
    check_own_config(model.config)
    method = _built(model.config, method, values)
    check_attention(attention, method, model.config)
    grow = grows(grow, method, model.config)
    load_own_clex(method, model)
    stock_logits = sample_logits(model)
    _put_on(model, method, attention, grow)
    try:
        check_pretrained_logits(model, stock_logits)
    except ValueError:
        detach(model)
        raise
    _replace_functions(model)
    return model


def _check_free(model: Any) -> None:
    """Raise a ValueError if a model is not loaded, or has a method already."""
    if isinstance(model, str | os.PathLike):
        raise ValueError(
            f"A method is attached to a loaded model, got the name {str(model)!r}: load it first, as in "
            f"AutoModelForCausalLM.from_pretrained({str(model)!r})."
        )
    if has_method(model):
        raise ValueError(
            "The model has a method already: detach(model) restores the original model; to compose methods, attach a "
            "list of them."
        )


def _built(config: PretrainedConfig, method: Method | Names, values: dict[str, Any]) -> Method:
    """Return the method, built for a model; ValueError if it is built already and there are values."""
    if not isinstance(method, Method):
        spec = rope_spec(config)
        with naming_yaml(" and ".join(own_files(method))):
            composed = with_own_clex(read_method(method), config, values)
            composed = with_values(composed, spec.pretrain_length, values)
            built = build_method(composed, spec, own_modules(method))
            try_out(built)
        return built
    if values:
        raise ValueError(
            f"A method that is already built has all its values: {', '.join(values)} would be ignored. Give the name "
            "of the method instead."
        )
    try_out(method)
    return method


def _replace_functions(model: PreTrainedModel) -> None:
    """Let the model generate at one factor, and save no more than other programs can read."""
    if model.can_generate():
        vars(model)["generate"] = partial(generate, model)  # a bound method would be unpickled as that of the class
    parts: list[Any] = [model, model.base_model]
    for saved in parts:
        vars(saved)["save_pretrained"] = partial(save_pretrained, saved)


def _put_on(model: PreTrainedModel, method: Method, backend: str, grow: bool) -> None:
    base = model.base_model
    hooks = [base.register_forward_pre_hook(InsertForwardPass(), with_kwargs=True)]
    if family_of(model.config).drops_keywords:
        hooks.append(base.register_forward_pre_hook(leave_forward_pass, with_kwargs=True))
        layers = base.get_submodule("layers").children()
        modules = [layer.get_submodule("self_attn") for layer in layers]
        hooks += [module.register_forward_pre_hook(take_forward_pass, with_kwargs=True) for module in modules]
    rotary_emb, own_attention = base.get_submodule("rotary_emb"), model.config._attn_implementation
    method.train(model.training)
    if model.device.type != "meta":  # on the meta device the model has no weights yet
        method.to(model.device)
    base.add_module(NAME, Attached(method, rotary_emb, own_attention, hooks, backend=backend, grow=grow))
    base.rotary_emb = Unrotated(method.scaling.spec.dim)
    model.set_attn_implementation(ATTENTION)


def detach(model: PreTrainedModel) -> PreTrainedModel:
    """Return `model` with its own rotary embedding and attention restored, and the method removed.

    Weights that were trained with the method are kept.

    Raises:
        ValueError: If the model has no method.
    """
    attachment = attached(model)
    for hook in attachment.hooks:
        hook.remove()
    model.base_model.rotary_emb = attachment.rotary_emb
    model.set_attn_implementation(attachment.attention or "eager")
    delattr(model.base_model, NAME)
    for name in ("generate", "save_pretrained"):
        vars(model).pop(name, None)
        vars(model.base_model).pop(name, None)
    return model


def check_attention(name: str, method: Method, config: PretrainedConfig, device: str | None = None) -> None:
    """Raise a ValueError if an attention backend does not support the method in every layer of a model.

    Args:
        name: Name of the backend, or "auto".
        method: Method to be attached.
        config: Config of the model.
        device: Type of the device, such as "cpu"; None if not known yet.
    """
    for window in native_windows(config):
        bands, what = method.pattern.bands(), type(method.pattern).__name__
        if window is not None:
            bands, what = clip_bands(bands, window), f"{what} in layers that natively see {window} tokens"
        check_backend(name, bands, device, what)


@torch.no_grad()
def backends(model: PreTrainedModel, length: int) -> dict[str, str]:
    """Return the attention backends for a text of `length` tokens, under "prefill", and for its last token, "decode".

    If layers with different native windows use different backends, all are named.
    """
    attachment, used = attached(model), {}
    for name, queries in (("prefill", length), ("decode", 1)):
        rope = attachment.method.rope(torch.ones(1, length, dtype=torch.bool, device=model.device), queries)
        forward_pass = ForwardPass(rope, backend=attachment.backend)
        windows = native_windows(model.config)
        names = {backend_of(forward_pass.with_rope(clip_to_window(rope, window))) for window in windows}
        used[name] = " and ".join(sorted(names))
    return used
