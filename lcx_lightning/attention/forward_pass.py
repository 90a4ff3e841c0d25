"""One forward pass, as every attention layer receives it: its geometry, backend, context shard and listener."""

from copy import copy
from typing import Generic, TypeVar

from lcx_lightning.attention.capture import Listener
from lcx_lightning.attention.names import AUTO
from lcx_lightning.distributed.key_exchange import ContextShard
from lcx_lightning.methods.packing import Packed
from lcx_lightning.methods.rope import Rope

Geometry = TypeVar("Geometry", Rope, Packed, Rope | Packed)


class ForwardPass(Generic[Geometry]):
    """The geometry of a pass, a `Rope` or those of packed documents, and how the pass is computed.

    A plain class, for the reason that `Rope` gives: sharded training casts the floating tensors in tuples,
    dictionaries and dataclasses.

    Args:
        rope: Positions, frequencies and bands of the pass.
        backend: Name of the attention backend, or "auto".
        shard: This rank's shard of the texts, if several ranks share them; layers then have the keys and values of its
            tokens only. None if texts are not split.
        listener: Function called with the inputs of every layer's attention, or None.
    """

    def __init__(
        self,
        rope: Geometry,
        *,
        backend: str = AUTO,
        shard: ContextShard | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.rope, self.backend, self.shard, self.listener = rope, backend, shard, listener

    def with_rope(self, rope: Rope) -> "ForwardPass[Rope]":
        """Return this pass with another `Rope`: that of one layer, or of one document."""
        other = copy(self)
        other.rope = rope  # pyright: ignore[reportAttributeAccessIssue]
        return other  # pyright: ignore[reportReturnType]
