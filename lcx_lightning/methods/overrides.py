"""Set the values of a method by keyword, under the names of its file: for use from Python, without Hydra."""

import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf

from lcx_lightning.methods.library import PARTS
from lcx_lightning.schema.near import did_you_mean

OPEN = re.compile(r"\$\{(\w+)\}")


def with_values(method: DictConfig, pretrain_length: int, values: Mapping[str, Any]) -> DictConfig:
    """Return the method with its open values, such as `${factor}`, filled in and other settings replaced.

    Args:
        method: The four parts, as `read_method` returns them.
        pretrain_length: Pretraining length in tokens, the value of `${pretrain_length}`.
        values: Values by name. A name is an open value (factor=4), a setting that only one part has (window=4096), or
            a part, whose value is then a mapping of its settings (pattern={"window": 4096}). A mapping with a
            `_target_` replaces the whole part.

    Raises:
        ValueError: If a name is unknown or ambiguous, the value of an open name is missing, a setting has two values,
            or a value is no number, flag, text, list or mapping.
    """
    values = {name: _plain(name, value) for name, value in values.items()}
    fillings = {name: value for name, value in values.items() if name in open_values(method)}
    replaced, changes, by = method.copy(), {}, {}
    for name, value in values.items():
        if name in fillings:
            continue
        part, setting = _part_and_setting(method, name, value)
        whole = "_target_" in setting or "_target_" in by.get(part, ())
        if part in by and (whole or setting.keys() & by[part].keys()):
            raise ValueError(
                f"{name} and {' and '.join(by[part])} set the same of {part}: leave one of them out, or give all in "
                f"{part}={{...}}."
            )
        by[part] = by.get(part, {}) | setting
        if "_target_" in setting:
            replaced[part] = setting
        else:
            changes[part] = changes.get(part, {}) | setting
    merged = OmegaConf.merge(replaced, changes)
    assert isinstance(merged, DictConfig)
    needed = open_values(merged)
    missing, unused = sorted(needed - fillings.keys()), sorted(fillings.keys() - needed)
    if missing:
        raise ValueError(f"The method needs a value for {' and '.join(missing)}: give {missing[0]}=...")
    if unused:
        raise ValueError(
            f"{unused[0]} would change nothing, because the setting that uses it is replaced as well. Leave one of "
            "them out."
        )
    return OmegaConf.create(fillings | {"pretrain_length": pretrain_length, "method": merged}).method


def _plain(name: str, value: Any) -> Any:
    """Return a value as configurations hold it: numbers of other libraries become those of Python."""
    if isinstance(value, Mapping):
        return {key: _plain(name, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | ListConfig):
        return [_plain(name, inner) for inner in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    raise ValueError(
        f"{name} must be a number, true or false, a text, or a list or mapping of these, got {name}={value!r} of type "
        f"{type(value).__name__}."
    )


def open_values(method: DictConfig) -> set[str]:
    """Return the names of the values that the method's files leave open, except those that the model decides."""
    return set(OPEN.findall(OmegaConf.to_yaml(method))) - {"pretrain_length"}


def _part_and_setting(method: DictConfig, name: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Return the part that a keyword changes, and the settings that it changes there."""
    if name in PARTS:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} needs a mapping of its settings, got {value!r}: {name}={{'setting': value}}.")
        unknown = [key for key in value if "_target_" not in value and key not in _settings(method, name)]
        if unknown:
            raise ValueError(f"The {name} has no setting {unknown[0]!r}. {_available_values(method)}")
        return name, dict(value)
    parts = [part for part in PARTS if name in _settings(method, part)]
    if len(parts) > 1:
        raise ValueError(
            f"{name} is a setting of {' and '.join(parts)}: say which, as in {parts[0]}={{{name!r}: ...}}."
        )
    if not parts:
        names = [*open_values(method), *(one for part in PARTS for one in _settings(method, part))]
        raise ValueError(f"The method has no value {name!r}.{did_you_mean(name, names)} {_available_values(method)}")
    return parts[0], {name: value}


def _settings(method: DictConfig, part: str) -> list[str]:
    return [str(name) for name in method[part] if name != "_target_"]


def _available_values(method: DictConfig) -> str:
    """Return a sentence that lists every value that can be set."""
    settings = {part: _settings(method, part) for part in PARTS}
    values = [*sorted(open_values(method)), *(f"{', '.join(names)} of {p}" for p, names in settings.items() if names)]
    return f"There are: {'; '.join(values) or 'none'}."
