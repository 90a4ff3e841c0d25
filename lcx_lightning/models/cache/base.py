"""What the caches of a method share: room for more tokens, and keys that are rotated once."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from lcx_lightning.models.cache.growable_layer import GrowableLayer

if TYPE_CHECKING:
    from lcx_lightning.methods.rope import Rope
    from lcx_lightning.models.cache.rotation import Rotation


class MethodCache(Cache):
    """Hold keys rotated, if a `Rotation` says how.

    Args:
        rotation: None holds keys as they come.

    Raises:
        ValueError: In a forward pass, if it is not one of a model with a method.
    """

    def __init__(self, rotation: "Rotation | None") -> None:
        super().__init__(layer_class_to_replicate=GrowableLayer)
        self.rotation = rotation
        self._slots: int | None = None  # keys that the pass that has begun attends to

    def begin(self, rope: "Rope") -> None:
        """Learn how many keys the coming pass attends to, and how it rotates them."""
        self._slots = rope.key_pos.shape[1]
        if self.rotation is not None:
            self.rotation.begin(rope)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the held keys and values of a layer with the given ones after them, and hold these."""
        layer: Any = self.layers[layer_idx] if layer_idx < len(self.layers) else None
        held = 0 if layer is None else layer.get_seq_length()
        if held + key_states.shape[2] != self._slots:
            raise ValueError(
                f"A {type(self).__name__} is filled by passes of a model with a method, every one to its end: attach a "
                "method, or start again with a new cache."
            )
        if self.rotation is not None:
            key_states = self.rotation.added(key_states, layer_idx)
            if layer is not None and held:
                layer.keys = self.rotation.held(layer.keys, layer_idx)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Give each row what the row `beam_idx` of it holds."""
        super().reorder_cache(beam_idx)  # pyright: ignore[reportArgumentType]
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Hold the rows `indices` only."""
        super().batch_select_indices(indices)
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Hold every row `repeats` times."""
        if self.layers:
            layer: Any = self.layers[0]
            self._select(torch.arange(len(layer.keys)).repeat_interleave(repeats))
        super().batch_repeat_interleave(repeats)

    def _select(self, rows: Tensor) -> None:
        """Go on with these rows of what is known of each row."""
        if self.rotation is not None:
            self.rotation.select(rows)
