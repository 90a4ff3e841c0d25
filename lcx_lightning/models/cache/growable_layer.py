"""Keys and values of one layer, with spare room: a token is appended without copying those before it."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import DynamicLayer

ROOM = 64  # smallest spare room, tokens
GROWTH = 8  # spare room is at least 1 / GROWTH of the tokens held


class GrowableLayer(DynamicLayer):
    """Keys and values of a layer, [batch, groups, tokens, dim], as views of larger tensors."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the held keys and values followed by the new ones, which are held from now on."""
        held = self.keys if self.is_initialized else None
        if held is None or held.ndim < 4 or torch.is_grad_enabled():  # a backward pass may need what was returned
            return super().update(key_states, value_states, *args, **kwargs)
        assert self.values is not None
        self.keys, self.values = _appended(held, key_states), _appended(self.values, value_states)
        return self.keys, self.values

    def reset(self) -> None:
        """Drop all keys and values; transformers up to 5.17 would only set them to zero."""
        self.keys = self.values = None
        self.is_initialized = False


def with_room(x: Float[Tensor, "batch groups keys dim"], kept: Int[Tensor, "rows held"]) -> Tensor:
    """Return the slots `kept` of each row, as a view of a tensor with spare room."""
    held = kept.shape[1]
    roomy = x.new_empty(*x.shape[:2], held + ROOM, x.shape[3])
    if len(kept) == 1:
        roomy[:, :, :held] = x.index_select(2, kept[0])
    else:
        roomy[:, :, :held] = x.take_along_dim(kept[:, None, :, None], dim=2)
    return roomy[:, :, :held]


def _fits(held: Tensor, added: Tensor) -> bool:
    """Return whether the new tokens fit into the tensor behind the held ones."""
    if held.is_inference() and not torch.is_inference_mode_enabled():
        return False
    return held.shape[2] + added.shape[2] <= held.stride(1) // max(held.stride(2), 1)  # tokens of the larger tensor


def _appended(held: Tensor, added: Tensor) -> Tensor:
    """Return the held tokens followed by the new ones: in place if they fit, else in a copy with spare room."""
    batch, groups, tokens, dim = held.shape
    total = tokens + added.shape[2]
    if _fits(held, added):
        longer = held.as_strided((batch, groups, total, dim), held.stride())
    else:
        longer = held.new_empty(batch, groups, total + max(ROOM, total // GROWTH), dim)[:, :, :total]
        longer[:, :, :tokens] = held
    longer[:, :, tokens:] = added
    return longer
