"""The public name of the position schemes, which are in methods/positions."""

from typing import Any

from lcx_lightning.methods import positions


def __getattr__(name: str) -> Any:
    return getattr(positions, name)


def __dir__() -> list[str]:
    return dir(positions)
