"""The object that `attach` puts on a model, as the submodule `attached` of its base model."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from lcx_lightning.attention.capture import Listener
from lcx_lightning.attention.names import AUTO
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.precision import KeepsPrecision

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

NAME = "attached"


class Attached(KeepsPrecision):
    """A method on a model, what `detach` restores, and how forward passes are computed.

    It is a module, so that the parameters of the method are trained, sharded, moved and saved with those of the model.
    A cast of the model changes neither them nor the frequencies of the model's own rotary embedding.

    Args:
        method: Method of every forward pass.
        rotary_emb: The model's own rotary embedding.
        attention: Name of the model's own attention implementation.
        hooks: Hooks on the model, which `detach` removes.
        backend: Name of the attention backend, or "auto" for the fastest one in every pass.
        grow: Whether the scale factor grows with every generated token.

    Attributes:
        planned_length: Length in tokens that decides the scale factor of every pass, if longer than the pass. 0 uses
            the length of the pass.
        mesh: Mesh of the ranks that share every text, or None.
        listener: Function called with the inputs of every layer's attention, or None.
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

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the weights of the method, and warn if peft asks for them, because it saves those of adapters only."""
        if any(True for _ in self.parameters()) and _peft_asks():
            warnings.warn(
                "peft saves the adapters, but neither the method attached to this model nor its learned weights. Save "
                f"model.get_base_model().base_model.{NAME}.state_dict() beside them, and load it after attaching the "
                "method again with the same values.",
                stacklevel=2,
            )
        return super().state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has.

        Raises:
            ValueError: If ranks share the texts of the model, which are no part of a copy.
        """
        if self.mesh is not None:
            raise ValueError(
                "A model whose texts are split over ranks cannot be copied or pickled: save its state_dict(), and load "
                "it into a model with the method attached."
            )
        return super().__getstate__()


def _peft_asks() -> bool:
    """Return whether peft reads the weights of a model, to save its adapters: it has no hook for that."""
    frame = sys._getframe()
    while frame := frame.f_back:
        if frame.f_code.co_name == "get_peft_model_state_dict":
            return True
    return False


def has_method(model: Any) -> bool:
    """Return whether a model, or its base model, has a method attached."""
    return hasattr(model.base_model, NAME)


def attached(model: Any) -> Attached:
    """Return the `Attached` of a model, or of its base model.

    Raises:
        ValueError: If the model has no method.
    """
    if not has_method(model):
        raise ValueError("The model has no method: attach one first, attach(model, NAME).")
    return getattr(model.base_model, NAME)


def method_of(model: Any) -> Method:
    """Return the method of a model.

    Raises:
        ValueError: If the model has no method.
    """
    return attached(model).method


@contextmanager
def listening(base: nn.Module, listener: Listener) -> Iterator[None]:
    """Call `listener` with the inputs of every layer's attention, in every pass inside this context."""
    attachment = attached(base)
    if attachment.mesh is not None:
        raise ValueError(
            "A model whose texts are split over ranks cannot have a listener, because each rank has only a part of the "
            "queries: let one rank read whole texts."
        )
    attachment.listener = listener
    try:
        yield
    finally:
        attachment.listener = None
