"""LCX Lightning: context-window extension of RoPE language models, compared truly.

import lcx_lightning as lcx

lcx.methods()  # the names there are
lcx.attach(model, "lm_infinite", window=4096)  # any supported Hugging Face model, which now uses the method
lcx.detach(model)  # the stock model again
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcx_lightning.attachment import attach, detach
    from lcx_lightning.configs import methods

__all__ = ["attach", "detach", "methods"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch and transformers take seconds."""
    if name in ("attach", "detach"):
        from lcx_lightning import attachment as module
    elif name == "methods":
        from lcx_lightning import configs as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
