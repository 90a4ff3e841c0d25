"""A forward pass of a model with a method: one `Rope` is made, handed to every layer, and used by its attention."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from lcx_lightning.attention.attend import attend
from lcx_lightning.attention.layer import half_split, latest, unrotated, within
from lcx_lightning.attention.packed import Packed
from lcx_lightning.attention.rope import AUTO, Rope
from lcx_lightning.attention.watch import Attended, Watch
from lcx_lightning.cache.banded import BandedCache
from lcx_lightning.cache.base import MethodCache
from lcx_lightning.context_parallel import share_for
from lcx_lightning.families import FAMILIES
from lcx_lightning.method import Method


class Unrotated(nn.Module):
    """The identity rotation, in the place of a model's rotary embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, position_ids: Tensor) -> "tuple[Tensor, Tensor] | Carrier":
        """Return cosines of 1 and sines of 0, [batch, tokens, dim], and with them the `Rope` that was left here."""
        shape = (*position_ids.shape, self.dim)
        tables = x.new_ones(shape), x.new_zeros(shape)
        rope = vars(self).pop("rope", None)
        return tables if rope is None else Carrier(tables, rope)


class Carrier:
    """Cosines and sines, and the `Rope` of their pass: for families whose layers hand on nothing else.

    Layers that are recomputed in the backward pass are given the arguments of their own pass again, and this with
    them. It unpacks as a tuple and is none: sharded training takes those apart.
    """

    def __init__(self, tables: tuple[Tensor, Tensor], rope: Rope) -> None:
        self.tables, self.rope = tables, rope

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tables)


@torch.compiler.disable  # what it decides from the numbers of a batch is no part of a compiled graph, its tensors are
def insert_rope(base: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Add the `Rope` of this forward pass to the arguments that reach every attention layer."""
    draw = kwargs.pop("draw", None)
    segments = {name: kwargs.pop(name) for name in ("segments", "segments_running") if name in kwargs}
    given = inspect.signature(base.forward).bind(*args, **kwargs).arguments
    given |= given.pop("kwargs", {})
    tokens = given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]
    cache, mask, queries = given.get("past_key_values"), given.get("attention_mask"), tokens.shape[1]
    if mask is not None and mask.ndim != 2:
        raise ValueError(
            f"A mask says which keys are padding, [batch, keys]: this one has the shape {list(mask.shape)}."
        )
    method: Method = base.method  # pyright: ignore[reportAssignmentType]
    if segments:
        return args, kwargs | {"rope": _packed(base, method, segments, draw, cache, mask)}
    slots = queries + (0 if cache is None else cache.get_seq_length())
    if isinstance(cache, BandedCache):
        valid, index = cache.keys(method.pattern, _valid(_added(mask, slots, queries), queries, tokens.device))
    else:
        valid, index = _valid(mask, slots, tokens.device), None
    to_come = max(vars(base).get("planned_length", 0) - slots, 0)
    rotated = isinstance(cache, MethodCache) and cache.rotation is not None
    share = share_for(base, valid, cache)
    rope = method.rope(valid, queries, draw, to_come, index, rotated=rotated, share=share)
    rope.implementation = vars(base).get("implementation", AUTO)
    rope.watch = vars(base).get("watch")
    if isinstance(cache, MethodCache):
        cache.begin(rope)
    if share is not None:
        args, kwargs = (), given | _own_tokens(given, share.own)
    return args, kwargs | {"rope": rope}


def _packed(
    base: nn.Module, method: Method, segments: dict[str, Tensor], draw: int | None, cache: object, mask: Tensor | None
) -> Packed:
    """Return the positions of a pass over rows of several documents, none of which sees another.

    Raises:
        ValueError: If the pass has a cache or padding, or ranks share its texts.
    """
    if cache is not None or (mask is not None and not bool(mask.all())) or "context" in vars(base):
        raise ValueError(
            "Rows of several documents that do not see each other are read whole, by one rank, without cache and "
            "padding: pass use_cache=False and no attention_mask, or leave segments out."
        )
    name, of = next(iter(segments.items()))
    packed = method.packed(of, restart=name == "segments", draw=draw)
    for rope in packed.ropes:
        rope.implementation = vars(base).get("implementation", AUTO)
    return packed


@contextmanager
def watched(base: nn.Module, watch: Watch) -> Iterator[None]:
    """Show `watch` what every layer of a model with a method attends to, in every pass inside this context."""
    if "context" in vars(base):
        raise ValueError(
            "A model whose texts are split over ranks is not watched: each rank has a part of the queries."
        )
    vars(base)["watch"] = watch
    try:
        yield
    finally:
        del vars(base)["watch"]


def _own_tokens(given: dict[str, Any], own: slice) -> dict[str, Any]:
    """Return the arguments of a pass over this rank's tokens of a text: the `Rope` knows their places and padding."""
    tokens = {name: x[:, own] for name in ("input_ids", "inputs_embeds") if (x := given.get(name)) is not None}
    return tokens | {"attention_mask": None, "position_ids": None}


def _valid(mask: Tensor | None, slots: int, device: torch.device) -> Bool[Tensor, "rows slots"]:
    """Return False on padding; one row where there is none."""
    if mask is None or bool(mask.all()):
        return torch.ones(1, slots, dtype=torch.bool, device=device)
    return mask.bool()


def _added(mask: Tensor | None, slots: int, queries: int) -> Tensor | None:
    """Return the part of a mask of all `slots` that is of the queries: the cache knows the padding before them."""
    if mask is not None and mask.shape[1] != slots:
        raise ValueError(
            f"The mask is of {mask.shape[1]} tokens, and there are {slots} with those that the cache has been given: "
            "pass the mask of the whole text."
        )
    return None if mask is None else mask[:, -queries:]


def leave_rope(base: Any, _args: tuple, kwargs: dict) -> None:
    """Leave the `Rope` of this pass where the cosines and sines of the pass are about to be made."""
    base.rotary_emb.rope = kwargs["rope"]


def take_rope(attention: Any, _args: tuple, kwargs: dict) -> None:
    """Take the `Rope` that came with the cosines and sines."""
    attention.rope = kwargs["position_embeddings"].rope


def attention(
    module: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float,
    rope: Rope | Packed | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend as the method of this pass says, in the signature of transformers' attention functions."""
    rope = rope or module.__dict__.pop("rope")
    assert rope is not None
    attended = partial(_attended, module, scaling=scaling, sliding_window=sliding_window)
    if isinstance(rope, Packed):
        return rope.attended(q, k, v, attended), None
    return attended(q, k, v, rope), None


def _attended(
    module: Any, q: Tensor, k: Tensor, v: Tensor, rope: Rope, *, scaling: float, sliding_window: int | None
) -> Tensor:
    """Return what a layer attends to, [batch, queries, heads, dim]."""
    if rope.share is not None:
        k, v = rope.share.keys_and_values(k.to(v.dtype), v)
    slots, keys = k.shape[2], rope.key_index.shape[1]
    held = keys if sliding_window is None else min(keys, sliding_window - 1 + q.shape[2])  # by a sliding cache
    if slots not in (keys, held):
        raise ValueError(f"This cache hands out {slots} keys for {keys} tokens: use one that grows, as DynamicCache.")
    rope = latest(within(rope, sliding_window), slots)
    if not getattr(module, "use_rope", True):
        rope = unrotated(rope)
    elif FAMILIES[module.config.model_type].interleaved:
        pairs = rope.inv_freq.shape[-1]
        q, k = half_split(q, pairs), k if rope.rotated else half_split(k, pairs)
    depth = (module.layer_idx + 1) / module.config.num_hidden_layers
    if rope.watch is not None:
        rope.watch(Attended(module.layer_idx, depth, q, k, rope, scaling))
    return attend(q, k, v, rope, scaling, depth).transpose(1, 2)
