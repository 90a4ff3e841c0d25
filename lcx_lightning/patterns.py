"""The public name of the attention patterns, which are in methods/patterns."""

from typing import Any

from lcx_lightning.methods import patterns


def __getattr__(name: str) -> Any:
    return getattr(patterns, name)


def __dir__() -> list[str]:
    return dir(patterns)
