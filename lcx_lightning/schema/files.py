"""What files of JSON hold, as data of known kinds; one sentence, with file and key, for whatever is wrong with one."""

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, Required, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from lcx_lightning.schema.kinds import allowed_values, shown


def read_json(path: Path | str, advice: str = "") -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: The file.
        advice: What to do if it holds none; a sentence.

    Raises:
        ValueError: If it is not UTF-8, not JSON, no object, nested too deeply, or has a key twice.
        OSError: If there is no such file, or it cannot be read.
    """
    try:
        found = json.loads(Path(path).read_bytes().decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {why_no_json(error)}. {advice}".rstrip()) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a mapping, got {shown(found)}. {advice}".rstrip())
    return found


def check_values(kind: type, content: Mapping[str, Any], place: str, advice: str) -> None:
    """Raise a ValueError if a value in a file is not what its key must have; the message names the key.

    Args:
        kind: A TypedDict of typing_extensions: the keys that are used, and what each must have, with
            `Field(strict=True)`, or else a text serves as a number. Other keys are not looked at.
        content: Plain data, as in a file.
        place: The file, with the line if that is known, for the message.
        advice: What to do; a sentence.
    """
    try:
        _whole(kind).validate_python(content)
    except (ValidationError, RecursionError):  # the whole is checked fast, and its keys for the message
        lacks = sorted(kind.__required_keys__ - content.keys())  # pyright: ignore[reportAttributeAccessIssue]
        if lacks:
            raise ValueError(f"{place} lacks {' and '.join(lacks)}. {advice}") from None
        _check_keys(kind, content, place, advice)


def _check_keys(kind: type, content: Mapping[str, Any], place: str, advice: str) -> None:
    for key, (annotation, adapter) in _kinds(kind).items():
        try:
            adapter.validate_python(content.get(key)) if key in content else None
        except (ValidationError, RecursionError) as error:
            allowed, given = allowed_values(annotation), shown(content[key])
            raise ValueError(f"{key} in {place} must be {allowed}, got {given}. {advice}") from error


_whole = functools.cache(TypeAdapter)


@functools.cache
def _kinds(kind: type) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    hints = {key: _needed(annotation) for key, annotation in get_type_hints(kind, include_extras=True).items()}
    return {key: (annotation, TypeAdapter(annotation)) for key, annotation in hints.items()}


def _needed(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) in (NotRequired, Required) else annotation


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Name the file in a ValueError about what it holds, unless its message does so; an empty name changes nothing."""
    try:
        yield
    except ValueError as error:
        if str(file) in str(error):
            raise
        raise ValueError(f"{file}: {error}") from error


def why_no_json(error: ValueError | RecursionError) -> str:
    """Return what is wrong with a text that the reader of JSON has refused with an error."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start} is not UTF-8"
    return "it has a number of thousands of digits" if "integer string conversion" in str(error) else str(error)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; ValueError if it has a key twice, of which readers take the one or the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it has the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found
