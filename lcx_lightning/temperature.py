"""The public name of the temperatures, which are in methods/temperature."""

from typing import Any

from lcx_lightning.methods import temperature


def __getattr__(name: str) -> Any:
    return getattr(temperature, name)


def __dir__() -> list[str]:
    return dir(temperature)
