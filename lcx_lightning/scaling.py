"""The public name of the scalings, which are in methods/scaling."""

from typing import Any

from lcx_lightning.methods import scaling


def __getattr__(name: str) -> Any:
    return getattr(scaling, name)


def __dir__() -> list[str]:
    return dir(scaling)
