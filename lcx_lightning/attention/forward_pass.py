"""One forward pass as the attention of every layer is told of it: positions, and how and by whom it is computed."""

from copy import copy
from typing import Generic, TypeVar

from lcx_lightning.attention.capture import Listener
from lcx_lightning.distributed.key_exchange import ContextShard
from lcx_lightning.methods.packing import Packed
from lcx_lightning.methods.rope import Rope

AUTO = "auto"  # the fastest backend of every pass

Geometry = TypeVar("Geometry", Rope, Packed, Rope | Packed)


class ForwardPass(Generic[Geometry]):
    """A `Rope`, or those of packed documents, with what is not geometry.

    A plain class, as `Rope`: sharded training casts the floating tensors in tuples, dictionaries and dataclasses.

    Args:
        rope: Positions, frequencies and bands of the pass.
        backend: Name of the attention backend, or "auto".
        shard: Tokens that this rank holds of texts that ranks share: layers have keys and values of these only.
        listener: Called with what every layer attends to, or None.
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

    def over(self, rope: Rope) -> "ForwardPass[Rope]":
        """Return this pass over another `Rope`: that of one layer, or of one document."""
        other = copy(self)
        other.rope = rope  # pyright: ignore[reportAttributeAccessIssue]
        return other  # pyright: ignore[reportReturnType]
