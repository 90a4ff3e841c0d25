"""What files of JSON hold, as data of known types; one sentence, with file and key, for whatever is wrong with one."""

import json
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Known = TypeVar("Known")


def read_json(path: Path | str, advice: str) -> dict[str, Any]:
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
        raise ValueError(f"{path} is not JSON: {why_no_json(error)}. {advice}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a mapping, got {reprlib.repr(found)}. {advice}")
    return found


def checked(kind: type[Known], content: Any, place: str, advice: str) -> Known:
    """Return content as the type that it must have.

    Args:
        kind: Type that pydantic knows, such as one of its models, or a dictionary with known keys.
        content: Plain data, as in a file.
        place: The file, with the line if that is known, for the message.
        advice: What to do if the content is something else; a sentence.

    Raises:
        ValueError: If it is something else; the message names the key.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{sentence(error, place)} {advice}") from error


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Name the file in a ValueError about what it holds, unless its message does so; an empty name changes nothing."""
    try:
        yield
    except ValueError as error:
        if str(file) in str(error):
            raise
        raise ValueError(f"{file}: {error}") from error


def sentence(error: ValidationError, place: str) -> str:
    """Return what is wrong with the first key that is wrong: its name, what it must be, and what was given."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{place} lacks {key}."
    if first["type"] == "value_error":
        return f"{place}: {key}: {first['msg'].removeprefix('Value error, ')}."
    must = first["msg"].replace("Input should", "must", 1)
    given = f"got {reprlib.repr(first['input'])}"
    return f"{key} in {place} {must}, {given}." if key else f"{place} {must}, {given}."


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
