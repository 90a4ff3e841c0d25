"""A key-value cache of constant size: sink tokens and a window (arXiv:2308.16137, arXiv:2309.17453)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern
from lcx_lightning.methods.rope import Rope
from lcx_lightning.models.cache import growable_layer
from lcx_lightning.models.cache.base import MethodCache
from lcx_lightning.models.cache.growable_layer import with_room
from lcx_lightning.models.cache.rotation import Rotation


class CacheSizes(NamedTuple):
    """The tokens that later queries of a pattern can see."""

    window: int  # last tokens of the text, the query included
    sink_tokens: int  # first tokens of the text

    def covers(self, band: Band) -> bool:
        """Return whether every key of the band is a sink token or in the window."""
        near = band.max_distance is not None and band.max_distance <= self.window
        return near or (band.first_keys is not None and band.first_keys <= self.sink_tokens)


class HeldKeys(NamedTuple):
    """The keys held by every layer: for each row padding, then tokens in the order of the text.

    A single row serves a batch without padding.
    """

    key_index: Int[Tensor, "rows held"]  # index of each key in its text
    valid: Bool[Tensor, "rows held"]  # False on padding
    lengths: Int[Tensor, " rows"]  # tokens that each row has received, whether or not they are still held
    slots: int  # tokens and padding that the cache has received


class PassPlan(NamedTuple):
    """What the cache holds after the current forward pass."""

    kept: Int[Tensor, "rows held"] | None  # slots to keep; None: all, for now
    held: HeldKeys


class WindowCache(MethodCache):
    """A cache of the first `sink_tokens` and the last `window` - 1 tokens of each row, at any length of the text.

    Up to `ROOM` further tokens are held and then dropped together, so that most tokens are added without copying the
    others. Logits equal those with a cache of all keys, because no later query sees a dropped key. In a batch each row
    has its own sinks and window, wherever its padding is. Padding is given by the attention mask of the whole text, or
    no mask if nothing is padded. Dropped keys cannot be restored, and so a text cannot be shortened: assisted
    generation needs a DynamicCache.

    Args:
        pattern: Pattern of the model's method.
        rotation: Rotation of the held keys, or None to hold them unrotated.

    Raises:
        ValueError: If later queries of the pattern can see any earlier token. Later, in a forward pass, if its pattern
            sees more than the cache holds, the model has no method, or the mask does not cover the whole text.
    """

    def __init__(self, pattern: Pattern, rotation: Rotation | None = None) -> None:
        super().__init__(rotation)
        self._sizes = cache_sizes(pattern)
        self._held: HeldKeys | None = None
        self._plan: PassPlan | None = None

    def keys(
        self, pattern: Pattern, added: Bool[Tensor, "rows added"]
    ) -> tuple[Bool[Tensor, "texts keys"], Int[Tensor, "texts keys"]]:
        """Return the keys of the pass that begins: whether each is valid, False on padding, and its index in its text.

        Args:
            pattern: Pattern of the pass.
            added: False where a token that the pass adds is padding. A single row serves a batch without padding.
        """
        self._check(pattern)
        held = self._held or _nothing(added)
        rows = max(len(added), len(held.valid))
        added, valid, lengths, index = (
            x.expand(rows, *x.shape[1:]) for x in (added, held.valid, held.lengths, held.key_index)
        )
        new = (lengths[:, None] + added.cumsum(dim=-1) - 1).clamp(min=0)
        valid, index = torch.cat([valid, added], dim=1), torch.cat([index, new], dim=1)
        lengths = lengths + added.sum(dim=-1)
        slots, kept = held.slots + added.shape[1], self._kept(valid, index, lengths)
        if kept is None:
            after = HeldKeys(index, valid, lengths, slots)
        else:
            after = HeldKeys(index.gather(1, kept), valid.gather(1, kept), lengths, slots)
        self._plan = PassPlan(kept, after)
        return valid, index

    def begin(self, rope: Rope) -> None:
        """Prepare for a pass, after `keys`: take its number of keys and its rotation from `rope`."""
        super().begin(rope)
        if self.rotation is not None and self._plan is not None and self._plan.kept is not None:
            self.rotation.keep(self._plan.kept)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the held keys and values of a layer followed by the new ones, then drop those that are not kept."""
        keys, values = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        plan = self._plan
        assert plan is not None
        if plan.kept is not None:
            layer: Any = self.layers[layer_idx]
            layer.keys, layer.values = with_room(keys, plan.kept), with_room(values, plan.kept)
        self._held = plan.held
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of tokens, padding included, that the cache has received."""
        return 0 if self._held is None else self._held.slots

    def reset(self) -> None:
        """Drop everything."""
        super().reset()
        self._held = self._plan = None

    @property
    def is_croppable(self) -> bool:
        """Return False: assisted generation, which removes tokens again, is not supported."""
        return False

    def crop(self, tokens_to_remove: int) -> None:
        """Raise a ValueError: tokens that would re-enter the window have been dropped."""
        raise ValueError(
            "A WindowCache cannot remove its last tokens, which assisted generation needs: pass past_key_values="
            "DynamicCache(), which holds every key."
        )

    def _kept(
        self, valid: Bool[Tensor, "rows keys"], index: Int[Tensor, "rows keys"], lengths: Int[Tensor, " rows"]
    ) -> Int[Tensor, "rows held"] | None:
        """Return the slots to keep, in each row those that later queries can see; None to keep all for now."""
        first = lengths[:, None] - (self._sizes.window - 1)  # index of the first token in the window of the next query
        seen = valid & ((index < self._sizes.sink_tokens) | (index >= first))
        most = int(seen.sum(dim=-1).max())
        if seen.shape[1] - most <= growable_layer.ROOM:
            return None
        return seen.int().argsort(dim=-1, stable=True)[:, seen.shape[1] - most :]

    def _check(self, pattern: Pattern) -> None:
        if not all(map(self._sizes.covers, visible_bands(pattern))):
            raise ValueError(
                f"This cache holds {self._sizes.sink_tokens} sink tokens and a window of {self._sizes.window}, but "
                f"{type(pattern).__name__} sees more: make a cache for the pattern of the model's method."
            )

    def _select(self, rows: Tensor) -> None:
        super()._select(rows)
        if self._held is not None and len(self._held.valid) > 1:
            index, valid, lengths, slots = self._held
            rows = rows.to(index.device)
            self._held = HeldKeys(index[rows], valid[rows], lengths[rows], slots)


def cache_sizes(pattern: Pattern) -> CacheSizes:
    """Return the tokens that later queries of a pattern can see.

    Raises:
        ValueError: If later queries can see any earlier token.
    """
    bands = visible_bands(pattern)
    endless = [band for band in bands if band.max_distance is None and band.first_keys is None]
    if endless:
        raise ValueError(
            f"{type(pattern).__name__} sees any earlier token, so no key can be dropped: use a DynamicCache, or a "
            "method whose pattern has a window, such as lm_infinite or streaming_llm."
        )
    window = max((band.max_distance for band in bands if band.max_distance is not None), default=1)
    sinks = (band.first_keys for band in bands if band.max_distance is None and band.first_keys is not None)
    return CacheSizes(window, max(sinks, default=0))


def visible_bands(pattern: Pattern) -> list[Band]:
    """Return the bands of all keys that a query may see: those of the pattern, and the candidates of its selection."""
    selection = pattern.selection()
    return pattern.bands() if selection is None else [*pattern.bands(), selection.candidates]


def _nothing(added: Bool[Tensor, "rows added"]) -> HeldKeys:
    none = added.new_empty(len(added), 0)
    return HeldKeys(none.long(), none, none.sum(dim=-1), 0)
