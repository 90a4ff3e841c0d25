"""The hooks of a model with a method: build one `ForwardPass`, pass it to every layer, and attend by it."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig

from lcx_lightning.attention.capture import AttentionInputs
from lcx_lightning.attention.dispatch import attend
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.rotation import half_split
from lcx_lightning.methods.packing import Packed
from lcx_lightning.methods.rope import Rope
from lcx_lightning.methods.rope_views import clip_to_window, keep_last_keys, unrotated
from lcx_lightning.models.attached import Attached, attached
from lcx_lightning.models.cache.base import MethodCache
from lcx_lightning.models.cache.window import WindowCache
from lcx_lightning.models.context_parallel import shard_for
from lcx_lightning.models.families import FAMILIES

ATTENTION = "lcx"  # name of our attention function for transformers
_SHARED = (
    "This model has no method, but its config has the attention of methods, because it is shared with or copied from "
    "that of a model with one. Give it a config of its own before it is built, copy.deepcopy(config), whose attention "
    'is another: config._attn_implementation = "sdpa".'
)


class Unrotated(nn.Module):
    """The identity rotation, which replaces a model's rotary embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, position_ids: Tensor) -> "tuple[Tensor, Tensor] | PositionEmbeddings":
        """Return cosines of 1 and sines of 0, [batch, tokens, dim], with the forward pass stored here, if any."""
        shape = (*position_ids.shape, self.dim)
        tables = x.new_ones(shape), x.new_zeros(shape)
        forward_pass = vars(self).pop("forward_pass", None)
        return tables if forward_pass is None else PositionEmbeddings(tables, forward_pass)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has: no forward pass that broke off."""
        return {name: value for name, value in super().__getstate__().items() if name != "forward_pass"}


class PositionEmbeddings:
    """Cosines, sines and the forward pass they belong to, for families whose layers pass nothing else to attention.

    A layer that is recomputed in the backward pass gets the arguments of its first pass again, and so the right forward
    pass. It unpacks like a tuple, but is not one, because sharded training rebuilds tuples.
    """

    def __init__(self, tables: tuple[Tensor, Tensor], forward_pass: ForwardPass) -> None:
        self.tables, self.forward_pass = tables, forward_pass

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tables)


class InsertForwardPass:
    """The hook `insert_forward_pass`, left out of compiled graphs, with the attention function that reads its result.

    What the hook decides from the numbers of a batch is no part of a compiled graph; its tensors are. A model that is
    copied or unpickled gets a new one: the process may not have the attention function yet.
    """

    def __init__(self) -> None:
        AttentionInterface.register(ATTENTION, attention)
        self._insert: Any = torch.compiler.disable(insert_forward_pass)

    def __call__(self, base: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Return the arguments of the base model with the `ForwardPass` added."""
        return self._insert(base, args, kwargs)

    def __reduce__(self) -> tuple[type, tuple]:
        """Return how a copy is made: anew."""
        return InsertForwardPass, ()


def insert_forward_pass(base: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Return the arguments of the base model with the `ForwardPass` added, which reaches every attention layer."""
    # 1. the arguments of the pass
    attachment = attached(base)
    _check_attention(base)
    placement_seed, rows = kwargs.pop("placement_seed", None), kwargs.pop("placement_rows", None)
    segments = {name: kwargs.pop(name) for name in ("segments", "segments_continuing") if name in kwargs}
    given = inspect.signature(base.forward).bind(*args, **kwargs).arguments
    given |= given.pop("kwargs", {})
    tokens = given["input_ids"] if given.get("inputs_embeds") is None else given["inputs_embeds"]
    cache, mask, queries = given.get("past_key_values"), given.get("attention_mask"), tokens.shape[1]
    placement_rows = range(len(tokens)) if rows is None else _numbers_of(rows, len(tokens))
    if mask is not None and mask.ndim != 2:
        raise ValueError(
            f"A mask says which keys are padding, [batch, keys]: this one has the shape {list(mask.shape)}."
        )
    if 0 in tokens.shape[:2]:
        raise ValueError(
            f"A pass needs at least one row of at least one token, got [rows, tokens] = {list(tokens.shape[:2])}. Give "
            "a text whose tokenizer makes tokens of it, such as BOS."
        )
    if segments:
        _check_packed(attachment, cache, mask)
        name, numbers = next(iter(segments.items()))
        packed = attachment.method.packed(numbers, name == "segments", placement_seed, placement_rows)
        return args, kwargs | {"forward_pass": ForwardPass(packed, backend=attachment.backend)}
    # 2. the keys and their indices in the text
    slots = queries + (0 if cache is None else cache.get_seq_length())
    if isinstance(cache, WindowCache):
        valid, index = cache.keys(
            attachment.method.pattern, _valid(_added(mask, slots, queries), queries, tokens.device)
        )
    else:
        valid, index = _valid(mask, slots, tokens.device), None
    shard = shard_for(attachment, valid, cache)
    # 3. the geometry of the pass
    rope = attachment.method.rope(
        valid,
        queries,
        placement_seed,
        future_tokens=max(attachment.planned_length - slots, 0),
        index=index,
        rotated=isinstance(cache, MethodCache) and cache.rotation is not None,
        visible_keys=None if shard is None else shard.visible_keys,
        local_tokens=None if shard is None else shard.local_tokens,
        placement_rows=placement_rows,
    )
    if isinstance(cache, MethodCache):
        cache.begin(rope)
    if shard is not None:
        args, kwargs = (), given | _local_tokens(given, shard.local_tokens)
    forward_pass = ForwardPass(rope, backend=attachment.backend, shard=shard, listener=attachment.listener)
    return args, kwargs | {"forward_pass": forward_pass}


def _check_attention(base: Any) -> None:
    """Raise a ValueError if the layers of a model would not attend by its method, which would rotate nothing."""
    name = base.config._attn_implementation
    if name != ATTENTION:
        raise ValueError(
            f"The attention implementation of this model was set to {name!r} after its method was attached, so the "
            f"method would have no effect. Set it back, model.set_attn_implementation({ATTENTION!r}), or detach the "
            "method first: detach(model). If another model shares its config object, give each a config of its own."
        )


def check_own_config(config: PretrainedConfig) -> None:
    """Raise a ValueError if the config of a model without a method has the attention of methods."""
    if config._attn_implementation == ATTENTION:
        raise ValueError(_SHARED)


def _numbers_of(rows: Tensor | Sequence[int], batch: int) -> list[int]:
    numbers = rows.tolist() if isinstance(rows, Tensor) else list(rows)
    if len(numbers) != batch:
        raise ValueError(
            f"placement_rows needs the number of each of the {batch} rows of the pass, got {len(numbers)} numbers."
        )
    return numbers


def _check_packed(attachment: Attached, cache: object, mask: Tensor | None) -> None:
    """Raise a ValueError if a pass over several documents has a cache or padding, or several ranks share its texts."""
    if cache is not None or (mask is not None and not bool(mask.all())) or attachment.mesh is not None:
        raise ValueError(
            "Rows of several documents that do not see each other are read whole, by one rank, without cache and "
            "padding: pass use_cache=False and no attention_mask, or leave segments out."
        )


def _local_tokens(given: dict[str, Any], local: slice) -> dict[str, Any]:
    """Return the arguments of a pass over this rank's tokens; the `Rope` has their positions and padding."""
    tokens = {name: x[:, local] for name in ("input_ids", "inputs_embeds") if (x := given.get(name)) is not None}
    return tokens | {"attention_mask": None, "position_ids": None}


def _valid(mask: Tensor | None, slots: int, device: torch.device) -> Bool[Tensor, "rows slots"]:
    """Return which slots are valid, False on padding; a single row if there is no padding."""
    if mask is None or bool(mask.all()):
        return torch.ones(1, slots, dtype=torch.bool, device=device)
    return mask.bool()


def _added(mask: Tensor | None, slots: int, queries: int) -> Tensor | None:
    """Return the part of a mask that belongs to the queries; the cache knows the padding before them."""
    if mask is not None and mask.shape[1] != slots:
        raise ValueError(
            f"The mask is of {mask.shape[1]} tokens, and there are {slots} with those that the cache has received: "
            "pass the mask of the whole text."
        )
    return None if mask is None else mask[:, -queries:]


def leave_forward_pass(base: Any, _args: tuple, kwargs: dict) -> None:
    """Store the forward pass in the rotary embedding, which returns it with the cosines and sines."""
    base.rotary_emb.forward_pass = kwargs["forward_pass"]


def take_forward_pass(attention: Any, _args: tuple, kwargs: dict) -> None:
    """Store in the attention module the forward pass that came with the cosines and sines."""
    attention.forward_pass = kwargs["position_embeddings"].forward_pass


def attention(
    module: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float,
    forward_pass: ForwardPass[Rope | Packed] | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Return attention under the method of this pass, with the signature of transformers' attention functions."""
    whole = forward_pass or module.__dict__.pop("forward_pass", None)
    if whole is None:
        raise ValueError(_SHARED)
    rope = whole.rope

    def attended(q: Tensor, k: Tensor, v: Tensor, rope: Rope) -> Tensor:
        return _attended(module, q, k, v, whole.with_rope(rope), scaling=scaling, sliding_window=sliding_window)

    return (rope.attended(q, k, v, attended) if isinstance(rope, Packed) else attended(q, k, v, rope)), None


def _attended(
    module: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    forward_pass: ForwardPass[Rope],
    *,
    scaling: float,
    sliding_window: int | None,
) -> Tensor:
    """Return the attention of a layer, [batch, queries, heads, dim]."""
    rope, shard = forward_pass.rope, forward_pass.shard
    # 1. the keys of this layer
    if shard is not None:
        k, v = shard.keys_and_values(k.to(v.dtype), v)
    slots, keys = k.shape[2], rope.key_index.shape[1]
    sliding = keys if sliding_window is None else min(keys, sliding_window - 1 + q.shape[2])  # keys of a sliding cache
    if slots not in (keys, sliding):
        raise ValueError(
            f"This cache returns {slots} keys for {keys} tokens: use one that grows, such as DynamicCache."
        )
    # 2. the pass as this layer sees it
    rope = keep_last_keys(clip_to_window(rope, sliding_window), slots)
    if not getattr(module, "use_rope", True):
        rope = unrotated(rope)
    elif FAMILIES[module.config.model_type].interleaved:
        pairs = rope.inv_freq.shape[-1]
        q, k = half_split(q, pairs), k if rope.rotated else half_split(k, pairs)
    # 3. attention
    depth = (module.layer_idx + 1) / module.config.num_hidden_layers
    if forward_pass.listener is not None:
        forward_pass.listener(AttentionInputs(module.layer_idx, depth, q, k, rope, scaling))
    return attend(q, k, v, forward_pass.with_rope(rope), scaling, depth).transpose(1, 2)
