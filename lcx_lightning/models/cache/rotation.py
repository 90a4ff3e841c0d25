"""Rotation of keys that a cache holds rotated: each is rotated when it is added, not again in every later pass."""

from collections.abc import Container

from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.attention.rotation import half_split, rotate
from lcx_lightning.methods.rope import Rope, Tables, angles, rotation_tables


class Rotation:
    """Rotate keys to their positions by the frequencies of the pass that adds them.

    If a later pass has other frequencies, or its mask gives other positions, the held keys are rotated by the
    difference. This rounds them once more, and is meant for passes that rarely differ.

    Args:
        interleaved: Whether the model pairs features 2i and 2i + 1; held keys are half-split.
        unrotated_layers: Indices of the layers without rotary embedding.
    """

    def __init__(self, *, interleaved: bool, unrotated_layers: Container[int]) -> None:
        self._interleaved, self._unrotated_layers = interleaved, unrotated_layers
        self._by: tuple[Tensor, ...] | None = None  # positions, frequencies and feature scale of the held keys
        self._next: tuple[Tensor, ...] | None = None  # the same, once the current pass has filled the cache
        self._for_held: Tables | None = None  # rotation of the held keys; None: they are already in place
        self._for_new: Tables | None = None  # rotation of the keys that the current pass adds

    def begin(self, rope: Rope) -> None:
        """Prepare for a pass: take its positions and frequencies from `rope`."""
        held = rope.key_pos.shape[1] - rope.query_pos.shape[1]
        now, before = (rope.key_pos, rope.inv_freq, rope.feature_scale), self._by
        self._for_held = None if before is None or not held else _difference(before, (now[0][:, :held], *now[1:]))
        self._next, self._for_new = now, rope.tables(rope.query_pos)

    def keep(self, kept: Int[Tensor, "#rows kept"]) -> None:
        """Keep only these slots after the current pass."""
        assert self._next is not None
        positions = self._next[0]
        rows = max(len(positions), len(kept))
        self._next = positions.expand(rows, -1).gather(1, kept.expand(rows, -1)), *self._next[1:]

    def rotate_held(
        self, keys: Float[Tensor, "batch groups held dim"], layer: int
    ) -> Float[Tensor, "batch groups held dim"]:
        """Return the held keys of a layer, rotated by the frequencies and positions of the current pass."""
        return keys if self._for_held is None or layer in self._unrotated_layers else rotate(keys, self._for_held)

    def rotate_new(
        self, keys: Float[Tensor, "batch groups new dim"], layer: int
    ) -> Float[Tensor, "batch groups new dim"]:
        """Return the keys that the current pass adds to a layer, rotated to their positions."""
        self._by = self._next
        if layer in self._unrotated_layers:
            return keys
        assert self._for_new is not None
        keys = half_split(keys, self._for_new.cos.shape[-1]) if self._interleaved else keys
        return rotate(keys, self._for_new)

    def select(self, rows: Tensor) -> None:
        """Keep only these rows."""
        if self._by is not None:
            self._by = tuple(x if len(x) == 1 else x[rows.to(x.device)] for x in self._by)


def _difference(before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> Tables | None:
    """Return the rotation from the old positions and frequencies to the new ones, or None if nothing changed.

    If frequencies are learned, it is returned in any case, so that they get a gradient: keys may have been added
    without one.
    """
    positions, inv_freq, scale = before
    positions = positions[:, : now[0].shape[1]]  # the last keys may have been removed again
    moved = any(bool((a != b).any()) for a, b in zip((positions, inv_freq, scale), now, strict=True))
    if not moved and not now[1].requires_grad:
        return None
    return rotation_tables(angles(*now[:2]) - angles(positions, inv_freq), now[2] / scale)
