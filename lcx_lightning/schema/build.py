"""Objects from a configuration: a mapping with `_target_` becomes what it names, after its values are checked."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf

from lcx_lightning.schema.checked import SettingError, Unbuilt, checked_arguments
from lcx_lightning.schema.kinds import shown

TARGET, PARTIAL = "_target_", "_partial_"


def build(node: Any, key: str, **more: Any) -> Any:
    """Return the object that a part of a configuration describes, its inner objects built first.

    A mapping with `_target_` is the object that the named class or function makes of the other values; with
    `_partial_: true` it is a function that takes the remaining arguments. Lists and other mappings keep their form.

    Args:
        node: Plain data, or a configuration.
        key: Key of the node in the configuration, for messages.
        more: Arguments of the outer object that the configuration does not hold.

    Raises:
        SettingError: If a name cannot be imported, or a value is not allowed. The message begins with the key.
    """
    return _made(_plain(node), key, call=True, more=more)


def check(node: Any, key: str, given_later: tuple[str, ...] = ()) -> None:
    """Raise a SettingError if an object could not be built, as far as kinds and ranges of its values tell.

    Args:
        node: Plain data, or a configuration.
        key: Key of the node in the configuration.
        given_later: Arguments of the outer object that the configuration does not hold.
    """
    _made(_plain(node), key, call=False, more=dict.fromkeys(given_later, Unbuilt()))


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _made(node: Any, key: str, *, call: bool, more: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_made(inner, f"{key}.{place}", call=call, more={}) for place, inner in enumerate(node)]
    if not isinstance(node, dict):
        return node
    values = {name: _made(inner, f"{key}.{name}", call=call, more={}) for name, inner in node.items()}
    if TARGET not in node:
        return values
    target, partial = located(values.pop(TARGET), key), values.pop(PARTIAL, False)
    if not isinstance(partial, bool):
        raise SettingError(f"{key}.{PARTIAL} must be true or false, got {shown(partial)}.")
    arguments = checked_arguments(target, values, key, given_later=None if partial else tuple(more))
    if not call:
        return Unbuilt()
    if partial:
        return functools.partial(target, **arguments, **more)
    try:
        return target(**arguments, **more)
    except SettingError as error:  # of a mapping inside, by the name that it has there
        raise SettingError(f"{key}.{error}") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise SettingError(f"{key}: {_said(error)}.") from error


def located(target: Any, key: str) -> Callable[..., Any]:
    """Return the class or function that `_target_` names.

    Raises:
        SettingError: If there is none.
    """
    module, _, leaf = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), leaf)
    except Exception as error:  # whatever a module of the user's own raises while it is imported
        raise SettingError(
            f"{key}._target_: {target} cannot be imported: {_said(error)}. Correct its name or file."
        ) from error
    if not callable(found):
        raise SettingError(f"{key}._target_ must name a class or a function, got {target}.")
    return found


def _said(error: Exception) -> str:
    plain = isinstance(error, ValueError | ImportError)
    return str(error).rstrip(".") if plain else f"{type(error).__name__}: {error}"
