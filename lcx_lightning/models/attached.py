"""What `attach` puts on a model: one object, the submodule `attached` of its base model."""

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from lcx_lightning.attention.capture import Listener
from lcx_lightning.attention.forward_pass import AUTO
from lcx_lightning.methods.method import Method

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

NAME = "attached"


class Attached(nn.Module):
    """A method on a model, what it takes the place of, and how the coming passes are computed.

    A module, so that the parameters of the method are trained, sharded, moved and saved with the model's.

    Args:
        method: Method of every forward pass.
        rotary_emb: The model's own rotary embedding.
        attention: Name of the model's own attention implementation.
        hooks: Hooks on the model, to be removed by `detach`.
        backend: Name of the attention backend, or "auto" for the fastest one of every pass.
        grow: Whether the scale factor of a generation grows with every token.

    Attributes:
        planned_length: Tokens of the text whose scale factor every pass is given, where that is longer; 0: its own.
        mesh: Ranks that share every text, or None.
        listener: Called with what every layer attends to, or None.
    """

    def __init__(
        self,
        method: Method,
        rotary_emb: nn.Module,
        attention: str | None,
        hooks: list[RemovableHandle],
        *,
        backend: str = AUTO,
        grow: bool = False,
    ) -> None:
        super().__init__()
        self.rotary_emb, self.method = rotary_emb, method
        self.attention, self.hooks, self.backend, self.grow = attention, hooks, backend, grow
        self.planned_length = 0
        self.mesh: DeviceMesh | None = None
        self.listener: Listener | None = None


def has_method(model: Any) -> bool:
    """Return whether a model, or its base model, has a method attached."""
    return hasattr(model.base_model, NAME)


def attached(model: Any) -> Attached:
    """Return what is attached to a model, or to its base model.

    Raises:
        ValueError: If the model has no method.
    """
    if not has_method(model):
        raise ValueError("The model has no method: attach one first, attach(model, NAME).")
    return getattr(model.base_model, NAME)


def method_of(model: Any) -> Method:
    """Return the method of a model; a ValueError as of `attached`."""
    return attached(model).method
