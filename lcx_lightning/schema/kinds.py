"""Annotations as checks: a number is finite, and neither a text nor true; what an annotation allows, in words."""

import collections.abc
import math
import numbers
import re
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt, MinLen
from pydantic import PlainValidator, Strict

LARGEST = 10**12  # of any size, factor or base: times any length in tokens it is still a 64-bit integer
SEQUENCES = (list, tuple, collections.abc.Sequence)
MAPPINGS = (dict, collections.abc.Mapping)
LIMITS = {Ge: ("of at least", "ge"), Gt: ("above", "gt"), Le: ("up to", "le"), Lt: ("below", "lt")}


def number(value: Any) -> float:
    """Return a finite number of Python; a whole one stays an int.

    Raises:
        ValueError: If it is no number (true and false are none), not finite, or its size is above 10^12.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError("not a number")
    if not -LARGEST <= value <= LARGEST:  # pyright: ignore[reportOperatorIssue]
        raise ValueError("not finite, or too large")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def finite(value: Any) -> float:
    """Return a finite number of any size as a float.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def whole(value: Any) -> int:
    """Return a whole number as an int; 4.0 counts as one.

    Raises:
        ValueError: If it is none.
    """
    found = number(value)
    if found != math.floor(found):
        raise ValueError("not whole")
    return int(found)


Factor = Annotated[float, Ge(1)]
"""A scale factor s, the target length over the pretraining length."""

LargeNumber = Annotated[float, PlainValidator(finite), Gt(0)]
"""A number above 0 of any size, such as FLOP/s."""

Share = Annotated[float, Ge(0), Le(1)]
"""A share of something, from 0 to 1."""

KINDS = {int: PlainValidator(whole), float: PlainValidator(number), bool: Strict(), str: Strict()}


def strict(annotation: Any) -> Any:
    """Return an annotation for pydantic that takes no text for a number, no 1 for true, and no nan."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in KINDS:
        return Annotated[annotation, KINDS[annotation]]
    if origin is Annotated:
        return Annotated[strict(inner[0]), *annotation.__metadata__]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(strict, inner))]  # noqa: UP007, of annotations that are known only now
    if origin in SEQUENCES or origin in MAPPINGS:
        generic: Any = origin
        return generic[tuple(one if one is Ellipsis else strict(one) for one in inner)]
    return annotation


def allowed_values(annotation: Any, marks: tuple[Any, ...] = ()) -> str:
    """Return what an annotation allows, in words: "a whole number of at least 1, or null".

    Args:
        annotation: Annotation of an argument.
        marks: Limits that stand around it.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed_values(inner[0], (*_limits(annotation.__metadata__), *marks))
    if annotation is int:
        return f"a whole number{_least_whole(marks)}"
    if annotation is float:
        return f"a number{_within(marks)}"
    if origin is Literal:
        return _joined([_word(one) for one in inner])
    if origin in (Union, types.UnionType):
        one_of = [allowed_values(one, marks) for one in inner if one is not types.NoneType]
        one_of = [word for words in one_of for word in (re.split(", | or ", words) if "a " not in words else (words,))]
        return _joined([*one_of, *(["null"] if types.NoneType in inner else [])])
    if origin in SEQUENCES or annotation in SEQUENCES:
        return _list_of(inner, marks)
    if origin in MAPPINGS or annotation in MAPPINGS:
        return "a mapping, not empty" if _filled(marks) else "a mapping"
    if origin is collections.abc.Callable or annotation is Callable:
        return "a function"
    simple = {bool: "true or false", str: "a text", types.NoneType: "null", Any: "anything"}
    return simple.get(annotation) or f"a {getattr(annotation, '__name__', annotation)}"


def _list_of(inner: tuple[Any, ...], marks: tuple[Any, ...]) -> str:
    some = "list, not empty," if _filled(marks) else "list"
    each = allowed_values(inner[0]) if inner and inner[0] is not Any else ""
    for one, many in (("a whole number", "whole numbers"), ("a number", "numbers"), ("a text", "texts")):
        if each.startswith(one):
            count = f"{len(inner)} " if len(inner) > 1 and Ellipsis not in inner else ""  # of a tuple
            return f"a {some} of {count}{many}{each.removeprefix(one)}"
    return f"a {some} with {each} in each place" if each else f"a {some.rstrip(',')}"


def _filled(marks: tuple[Any, ...]) -> bool:
    return any(isinstance(mark, MinLen) and mark.min_length for mark in marks)


def _limits(metadata: tuple[Any, ...]) -> Iterator[BaseMetadata]:
    """Yield the limits among the metadata of an annotation, those that pydantic groups one by one."""
    for one in metadata:
        if isinstance(one, GroupedMetadata):
            yield from _limits(tuple(one))
        elif isinstance(one, BaseMetadata):
            yield one
        else:
            yield from _limits(tuple(getattr(one, "metadata", ())))  # of pydantic.Field


def _within(marks: tuple[Any, ...]) -> str:
    said = [
        f"{words} {getattr(mark, name):g}"
        for kind, (words, name) in LIMITS.items()
        for mark in marks
        if isinstance(mark, kind)
    ]
    return f" {' and '.join(said)}" if said else ""


def _least_whole(marks: tuple[Any, ...]) -> str:
    """As `_within`, for whole numbers: above 0 is of at least 1."""
    return _within(tuple(Ge(mark.gt + 1) if isinstance(mark, Gt) else mark for mark in marks))  # type: ignore[operator]


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _joined(words: list[str]) -> str:
    """Return words as a choice: "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def shown(value: Any) -> str:
    """Return a value as it is typed on the command line, shortened if it is long."""
    text = repr(value) if not isinstance(value, bool) and value is not None else _word(value)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"
