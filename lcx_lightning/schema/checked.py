"""Arguments checked against the annotations of the function that takes them, by pydantic."""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from lcx_lightning.schema.kinds import MAPPINGS, allowed_values, shown, strict
from lcx_lightning.schema.near import did_you_mean

Section = TypeVar("Section")
Function = TypeVar("Function", bound=Callable[..., Any])
OF_CLASSES = ConfigDict(arbitrary_types_allowed=True)
NO_KIND = (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, NameError)


class SettingError(ValueError):
    """A value of a configuration that is refused. The message names its whole key."""


class Unbuilt:
    """The place of an object that is described and not built yet."""


class Parameter(NamedTuple):
    """One argument of a function: what is allowed there."""

    annotation: Any
    adapter: TypeAdapter[Any] | None  # None: anything
    needed: bool


def checked(function: Function) -> Function:
    """Return a function that refuses arguments that its annotations do not allow: see `checked_arguments`."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name, parameter in parameters(function).items():
            if name in bound.arguments and parameter.adapter:
                bound.arguments[name] = _valid(parameter, bound.arguments[name], name)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def check_fields(one: Any) -> None:
    """Raise a SettingError if a field of a dataclass is not what its annotation allows."""
    for name, parameter in parameters(type(one)).items():
        _valid(parameter, getattr(one, name), name)


def checked_arguments(
    target: Callable[..., Any], values: Mapping[str, Any], key: str, *, given_later: tuple[str, ...] | None = ()
) -> dict[str, Any]:
    """Return the values of a mapping as the arguments of a function or class.

    Args:
        target: Function or class that takes them.
        values: Values by name. Those that hold an `Unbuilt` are not checked.
        key: Key of the mapping in the configuration, for messages; "" for the configuration itself.
        given_later: Names that the program adds. None: it may add any.

    Raises:
        SettingError: If a name is unknown or missing, or a value is not allowed.
    """
    takes, prefix = parameters(target), f"{key}." if key else ""
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values())
    names = [name for name in takes if name not in (given_later or ())]
    for name in values:
        if name not in names and not open_ended:
            raise SettingError(unknown_name(_whole_name(str(name), values[name]), names, key))
    missing = [name for name in names if takes[name].needed and name not in values]
    if missing and given_later is not None:
        needed = [f"{prefix}{name}, {allowed_values(takes[name].annotation)}" for name in missing]
        raise SettingError(f"A value is needed: {'; '.join(needed)}.")
    return {
        name: _valid(takes[name], value, prefix + name) if name in takes and not _has_unbuilt(value) else value
        for name, value in values.items()
    }


def section(kind: type[Section], values: Mapping[str, Any], key: str) -> Section:
    """Return an object that is made of the values of a mapping: see `checked_arguments`."""
    return kind(**checked_arguments(kind, values, key))


def unknown_name(name: str, names: list[str], key: str) -> str:
    """Return the message about a name that there is not."""
    prefix = f"{key}." if key else ""
    there_are = f" There are {', '.join(names)}." if names else " It has no values."
    return f"{key or 'The configuration'} has no {name!r}.{did_you_mean(name, names, prefix)}{there_are}"


def _whole_name(name: str, value: Any) -> str:
    """Return a name with those inside it, where each holds one: that which was typed."""
    while isinstance(value, Mapping) and len(value) == 1:
        ((inner, value),) = value.items()
        name += f".{inner}"
    return name


@functools.cache
def parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the named arguments of a function or class, and what is allowed in them."""
    code = inspect.unwrap(function.__init__ if inspect.isclass(function) else function)
    names = getattr(code, "__globals__", {})
    return {
        name: Parameter(*_kind(parameter.annotation, names), parameter.default is parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _kind(annotation: Any, names: Mapping[str, Any]) -> tuple[Any, TypeAdapter[Any] | None]:
    """Return an annotation and its check: None, so any value, where it names what only type checkers import."""
    try:
        found = _resolved(annotation, names) if isinstance(annotation, str) else annotation
        if found is inspect.Parameter.empty or found is Any:
            return Any, None
        return found, TypeAdapter(strict(found), config=OF_CLASSES)
    except NO_KIND:
        return Any, None


def _resolved(annotation: str, names: Mapping[str, Any]) -> Any:
    """Return an annotation that is written as a text; NameError if it names what only type checkers import."""
    written = SimpleNamespace(__annotations__={"it": annotation})
    return get_type_hints(written, dict(names), include_extras=True)["it"]


def _valid(parameter: Parameter, value: Any, key: str) -> Any:
    if parameter.adapter is None:
        return value
    try:
        return parameter.adapter.validate_python(value)
    except (ValidationError, RecursionError) as error:
        _check_inner(parameter.annotation, value, key)
        allowed, choices = allowed_values(parameter.annotation), _choices(parameter.annotation)
        meant = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise SettingError(f"{key} must be {allowed}, got {shown(value)}.{meant}") from error


def _check_inner(annotation: Any, value: Any, key: str) -> None:
    """Raise a SettingError for the value of a mapping that its annotation does not allow, if there is one."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) in MAPPINGS and isinstance(value, Mapping):
            for name, inner in value.items():
                _valid(Parameter(*_kind(get_args(kind)[1], {}), needed=True), inner, f"{key}.{name}")


def _choices(annotation: Any) -> list[str]:
    """Return the texts that an annotation names as choices."""
    if get_origin(annotation) is Literal:
        return [one for one in get_args(annotation) if isinstance(one, str)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _has_unbuilt(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_unbuilt, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Unbuilt)
