"""What the parts of a method compute, checked: kind and shape in every pass, numbers before a method is used."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lcx_lightning.schema.checked import SettingError

PACKAGE = "lcx_lightning."


class MethodError(SettingError):
    """A part of a method fails, or computes what no pass can use. The message names its class."""


def checked_output(
    part: object, name: str, value: Any, shape: Sequence[Any], dtype: torch.dtype | None = None
) -> Tensor:
    """Return what a part of a method has computed, if it is a tensor of the right kind and shape.

    Args:
        part: The part, such as a scaling.
        name: Name of its method that was called.
        value: What that returned.
        shape: Size of each dimension: a number, or several that are allowed.
        dtype: Data type that is needed; None for any floating type.

    Raises:
        MethodError: If it is something else.
    """
    if not isinstance(value, Tensor):
        raise MethodError(f"{class_name(part)}.{name} must return a tensor, got {type(value).__name__}.")
    if value.dtype != dtype if dtype else not value.is_floating_point():
        raise MethodError(f"{class_name(part)}.{name} must return {dtype or 'floating numbers'}, got {value.dtype}.")
    sizes = [size if isinstance(size, tuple) else (size,) for size in shape]
    if value.ndim != len(sizes) or any(n not in some for n, some in zip(value.shape, sizes, strict=True)):
        needed = ", ".join(" or ".join(map(str, dict.fromkeys(some))) for some in sizes)
        raise MethodError(f"{class_name(part)}.{name} must return the shape [{needed}], got {list(value.shape)}.")
    return value


def sound(part: object, name: str, value: Tensor, least: float = 0.0) -> Tensor:
    """Return numbers that a part of a method has computed, if all are finite and none is below `least`.

    Raises:
        MethodError: If one is not.
    """
    wrong = ~value.isfinite() | (value < least)
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise MethodError(
            f"{class_name(part)}.{name} must return finite numbers of at least {least:g}, got "
            f"{float(value[tuple(place)]):g} at {place}."
        )
    return value


def class_name(part: object) -> str:
    """Return the name of the class of a part: as `_target_` has it, or the name alone of a class of this package."""
    kind = type(part)
    return kind.__name__ if kind.__module__.startswith(PACKAGE) else f"{kind.__module__}.{kind.__name__}"


def is_own(part: object) -> bool:
    """Return whether the class of a part is the user's own."""
    return not type(part).__module__.startswith(PACKAGE)
