"""The base of the caches for models with a method: layers with spare room, and keys that are held rotated."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from lcx_lightning.models.cache.growable_layer import GrowableLayer

if TYPE_CHECKING:
    from lcx_lightning.methods.rope import Rope
    from lcx_lightning.models.cache.rotation import Rotation


class MethodCache(Cache):
    """A key-value cache that may hold its keys rotated.

    Args:
        rotation: Rotation of the held keys, or None to hold them unrotated.

    Raises:
        ValueError: In a forward pass, if the model has no method.
    """

    def __init__(self, rotation: "Rotation | None") -> None:
        super().__init__(layer_class_to_replicate=GrowableLayer)
        self.rotation = rotation
        self._slots: int | None = None  # number of keys in the current pass

    def begin(self, rope: "Rope") -> None:
        """Prepare for a pass: take its number of keys and its rotation from `rope`."""
        self._slots = rope.key_pos.shape[1]
        if self.rotation is not None:
            self.rotation.begin(rope)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the held keys and values of a layer followed by the new ones, which are held from now on."""
        layer: Any = self.layers[layer_idx] if layer_idx < len(self.layers) else None
        held = 0 if layer is None else layer.get_seq_length()
        if held + key_states.shape[2] != self._slots:
            raise ValueError(
                f"A {type(self).__name__} is filled by passes of a model with a method, none of which may break off: "
                "attach a method, or start again with a new cache."
            )
        if self.rotation is not None:
            key_states = self.rotation.rotate_new(key_states, layer_idx)
            if layer is not None and held:
                layer.keys = self.rotation.rotate_held(layer.keys, layer_idx)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Replace each row by the row that `beam_idx` names."""
        super().reorder_cache(beam_idx)  # pyright: ignore[reportArgumentType]
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows `indices`."""
        super().batch_select_indices(indices)
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times."""
        if self.layers:
            layer: Any = self.layers[0]
            self._select(torch.arange(len(layer.keys)).repeat_interleave(repeats))
        super().batch_repeat_interleave(repeats)

    def _select(self, rows: Tensor) -> None:
        """Select rows of the state that is kept for each row, besides keys and values."""
        if self.rotation is not None:
            self.rotation.select(rows)
