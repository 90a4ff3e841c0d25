"""Keys that are held rotated: each is turned once, when it is added, and not again in every later pass."""

from collections.abc import Container

from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.attention.rotation import half_split, rotate
from lcx_lightning.methods.rope import Rope, Tables, angles, rotation_tables


class Rotation:
    """Turn keys to their positions by the frequencies of the pass that adds them.

    Where a later pass has other frequencies, or its mask other positions, the held keys are turned by the difference,
    which rounds them once more: for passes that seldom differ.

    Args:
        interleaved: Whether features 2i and 2i + 1 turn together; held keys are half-split.
        still: Indices of the layers without rotary embedding.
    """

    def __init__(self, *, interleaved: bool, still: Container[int]) -> None:
        self._interleaved, self._still = interleaved, still
        self._by: tuple[Tensor, ...] | None = None  # positions, frequencies and feature scale of what is held
        self._coming: tuple[Tensor, ...] | None = None  # of what will be held, once the coming pass fills the cache
        self._of_held: Tables | None = None  # None: held keys are where they should be
        self._of_added: Tables | None = None

    def begin(self, rope: Rope) -> None:
        """Take over the positions and frequencies of the coming pass."""
        held = rope.key_pos.shape[1] - rope.query_pos.shape[1]
        now, before = (rope.key_pos, rope.inv_freq, rope.feature_scale), self._by
        self._of_held = None if before is None or not held else _difference(before, (now[0][:, :held], *now[1:]))
        self._coming, self._of_added = now, rope.tables(rope.query_pos)

    def keep(self, kept: Int[Tensor, "#rows kept"]) -> None:
        """Hold these slots only, after the pass that has begun."""
        assert self._coming is not None
        positions = self._coming[0]
        rows = max(len(positions), len(kept))
        self._coming = positions.expand(rows, -1).gather(1, kept.expand(rows, -1)), *self._coming[1:]

    def held(self, keys: Float[Tensor, "batch groups held dim"], layer: int) -> Float[Tensor, "batch groups held dim"]:
        """Return the held keys of a layer as this pass rotates them."""
        return keys if self._of_held is None or layer in self._still else rotate(keys, self._of_held)

    def added(self, keys: Float[Tensor, "batch groups new dim"], layer: int) -> Float[Tensor, "batch groups new dim"]:
        """Return the keys that this pass adds to a layer, rotated to their positions."""
        self._by = self._coming
        if layer in self._still:
            return keys
        assert self._of_added is not None
        keys = half_split(keys, self._of_added.cos.shape[-1]) if self._interleaved else keys
        return rotate(keys, self._of_added)

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of what is held."""
        if self._by is not None:
            self._by = tuple(x if len(x) == 1 else x[rows.to(x.device)] for x in self._by)


def _difference(before: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> Tables | None:
    """Return the rotation from where keys are to where they should be, None where they are there.

    Frequencies that are learned are differentiated through it: keys may have been added without a gradient.
    """
    positions, inv_freq, scale = before
    positions = positions[:, : now[0].shape[1]]  # some of the last ones may have been taken back
    moved = any(bool((a != b).any()) for a, b in zip((positions, inv_freq, scale), now, strict=True))
    if not moved and not now[1].requires_grad:
        return None
    return rotation_tables(angles(*now[:2]) - angles(positions, inv_freq), now[2] / scale)
