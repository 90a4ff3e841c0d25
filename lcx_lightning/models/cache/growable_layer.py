"""Keys and values of one layer, with room for more: a token is added without a copy of those before it."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens, at the least
GROWTH = 8  # one token more of room for so many tokens that are held


class GrowableLayer(DynamicLayer):
    """Keys and values of a layer, [batch, groups, tokens, dim], views of tensors with room for more tokens."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return what is held with the given keys and values after it, and hold that."""
        held = self.keys if self.is_initialized else None
        if held is None or held.ndim < 4 or torch.is_grad_enabled():  # a backward pass may need what was handed out
            return super().update(key_states, value_states, *args, **kwargs)
        assert self.values is not None
        self.keys, self.values = _appended(held, key_states), _appended(self.values, value_states)
        return self.keys, self.values

    def reset(self) -> None:
        """Forget everything: transformers up to 5.17 would go on after as many zeros."""
        self.keys = self.values = None
        self.is_initialized = False


def with_room(x: Float[Tensor, "batch groups keys dim"], kept: Int[Tensor, "rows held"]) -> Tensor:
    """Return the slots `kept` of each row, a view of a tensor with room for more."""
    held = kept.shape[1]
    roomy = x.new_empty(*x.shape[:2], held + ROOM, x.shape[3])
    if len(kept) == 1:
        roomy[:, :, :held] = x.index_select(2, kept[0])
    else:
        roomy[:, :, :held] = x.take_along_dim(kept[:, None, :, None], dim=2)
    return roomy[:, :, :held]


def _fits(held: Tensor, added: Tensor) -> bool:
    """Return whether tokens can be written after the held ones."""
    if held.is_inference() and not torch.is_inference_mode_enabled():
        return False
    return held.shape[2] + added.shape[2] <= held.stride(1) // max(held.stride(2), 1)  # tokens of the tensor it views


def _appended(held: Tensor, added: Tensor) -> Tensor:
    """Return the held tokens and the added ones: what was there and goes on, or a copy with room for more."""
    batch, groups, tokens, dim = held.shape
    total = tokens + added.shape[2]
    if _fits(held, added):
        longer = held.as_strided((batch, groups, total, dim), held.stride())
    else:
        longer = held.new_empty(batch, groups, total + max(ROOM, total // GROWTH), dim)[:, :, :total]
        longer[:, :, :tokens] = held
    longer[:, :, tokens:] = added
    return longer
