"""A key-value cache that stays small: it holds sinks and a window (arXiv:2308.16137, arXiv:2309.17453)."""

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


class Sizes(NamedTuple):
    """What a pattern can see of the past."""

    window: int  # tokens, the query included
    sink_tokens: int  # first tokens of the text

    def serve(self, band: Band) -> bool:
        """Return whether every key that the band holds is in the window or a sink."""
        near = band.max_distance is not None and band.max_distance <= self.window
        return near or (band.first_keys is not None and band.first_keys <= self.sink_tokens)


class Held(NamedTuple):
    """The keys that are held, alike in every layer: those of each row in the order of its text, padding before them.

    One row serves a batch without padding.
    """

    places: Int[Tensor, "rows held"]  # place of each key in its text, in tokens
    valid: Bool[Tensor, "rows held"]  # False on padding
    lengths: Int[Tensor, " rows"]  # tokens that each row has been given, whether or not they are held
    slots: int  # tokens and padding that the cache has been given


class Pass(NamedTuple):
    """What a forward pass leaves in the cache."""

    kept: Int[Tensor, "rows held"] | None  # which of them are kept; None: all, for now
    held: Held


class WindowCache(MethodCache):
    """Hold the first `sink_tokens` and the last `window` - 1 tokens of each row, however long the text.

    Up to `ROOM` tokens besides wait to be dropped together, so that most tokens are added without a copy of the others.
    Logits are those of a cache that holds everything: no later query sees another key. In a batch each row has its own
    sinks and window, wherever its padding is. Padding is told by the attention mask, as ever: that of the whole text,
    or none where nothing is padded. Keys that have been dropped do not come back, so a text cannot be shortened:
    assisted generation needs a DynamicCache.

    Args:
        pattern: Of the method that the model has.
        rotation: By which keys are held rotated; None holds them as they come.

    Raises:
        ValueError: If later queries of the pattern can see any earlier token. Afterwards, in a forward pass: if the
            pattern there sees more than is held, the model has no method, or the mask is not that of the whole text.
    """

    def __init__(self, pattern: Pattern, rotation: Rotation | None = None) -> None:
        super().__init__(rotation)
        self._sizes = sizes_of(pattern)
        self._held: Held | None = None
        self._pass: Pass | None = None

    def keys(
        self, pattern: Pattern, added: Bool[Tensor, "rows added"]
    ) -> tuple[Bool[Tensor, "texts keys"], Int[Tensor, "texts keys"]]:
        """Return which keys the coming pass attends to: False on padding, and their places in their texts.

        Args:
            pattern: Of the coming pass.
            added: False where the tokens that it adds are padding; one row serves a batch without padding.
        """
        self._check(pattern)
        held = self._held or _nothing(added)
        rows = max(len(added), len(held.valid))
        added, valid, lengths, index = (
            x.expand(rows, *x.shape[1:]) for x in (added, held.valid, held.lengths, held.places)
        )
        new = (lengths[:, None] + added.cumsum(dim=-1) - 1).clamp(min=0)
        valid, index = torch.cat([valid, added], dim=1), torch.cat([index, new], dim=1)
        lengths = lengths + added.sum(dim=-1)
        slots, kept = held.slots + added.shape[1], self._kept(valid, index, lengths)
        if kept is None:
            after = Held(index, valid, lengths, slots)
        else:
            after = Held(index.gather(1, kept), valid.gather(1, kept), lengths, slots)
        self._pass = Pass(kept, after)
        return valid, index

    def begin(self, rope: Rope) -> None:
        """Learn how many keys the coming pass attends to, and how it rotates them, after `keys`."""
        super().begin(rope)
        if self.rotation is not None and self._pass is not None and self._pass.kept is not None:
            self.rotation.keep(self._pass.kept)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the held keys and values of a layer with the given ones after them, and hold what is to be kept."""
        keys, values = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        made = self._pass
        assert made is not None
        if made.kept is not None:
            layer: Any = self.layers[layer_idx]
            layer.keys, layer.values = with_room(keys, made.kept), with_room(values, made.kept)
        self._held = made.held
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens and padding the cache has been given."""
        return 0 if self._held is None else self._held.slots

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._held = self._pass = None

    @property
    def is_croppable(self) -> bool:
        """Return False: generation asks this before it reads a token that it may have to take back."""
        return False

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse to forget the last tokens: those that would come back into the window are gone."""
        raise ValueError(
            "A BandedCache cannot forget its last tokens, as assisted generation asks: pass past_key_values="
            "DynamicCache(), which holds every key."
        )

    def _kept(
        self, valid: Bool[Tensor, "rows keys"], index: Int[Tensor, "rows keys"], lengths: Int[Tensor, " rows"]
    ) -> Int[Tensor, "rows held"] | None:
        """Return the slots that the coming queries can see, the last ones of every row being those; None to wait."""
        first = lengths[:, None] - (self._sizes.window - 1)  # that the next query sees in its window
        seen = valid & ((index < self._sizes.sink_tokens) | (index >= first))
        most = int(seen.sum(dim=-1).max())
        if seen.shape[1] - most <= growable_layer.ROOM:
            return None
        return seen.int().argsort(dim=-1, stable=True)[:, seen.shape[1] - most :]

    def _check(self, pattern: Pattern) -> None:
        unserved = [band for band in bands_of(pattern) if not self._sizes.serve(band)]
        if unserved:
            raise ValueError(
                f"This cache holds {self._sizes.sink_tokens} sink tokens and a window of {self._sizes.window}, but "
                f"{type(pattern).__name__} sees more: make a cache for the pattern that the model has."
            )

    def _select(self, rows: Tensor) -> None:
        super()._select(rows)
        if self._held is not None and len(self._held.valid) > 1:
            places, valid, lengths, slots = self._held
            rows = rows.to(places.device)
            self._held = Held(places[rows], valid[rows], lengths[rows], slots)


def sizes_of(pattern: Pattern) -> Sizes:
    """Return what a pattern can see of the past.

    Raises:
        ValueError: If that grows with the text.
    """
    bands = bands_of(pattern)
    endless = [band for band in bands if band.max_distance is None and band.first_keys is None]
    if endless:
        raise ValueError(
            f"{type(pattern).__name__} sees any earlier token, so no key can be dropped: use a DynamicCache, or a "
            "method whose pattern has a window, as lm_infinite or streaming_llm."
        )
    window = max((band.max_distance for band in bands if band.max_distance is not None), default=1)
    sinks = (band.first_keys for band in bands if band.max_distance is None and band.first_keys is not None)
    return Sizes(window, max(sinks, default=0))


def bands_of(pattern: Pattern) -> list[Band]:
    """Return everything that a query may see: keys that are chosen by their logits must be there to choose from."""
    selection = pattern.selection()
    return pattern.bands() if selection is None else [*pattern.bands(), selection.candidates]


def _nothing(added: Bool[Tensor, "rows added"]) -> Held:
    none = added.new_empty(len(added), 0)
    return Held(none.long(), none, none.sum(dim=-1), 0)
