"""Numbers and flags that make no sense are refused by every public class and function of methods, and named."""

import dataclasses
import importlib
import inspect
import math

import pytest
from omegaconf import OmegaConf

from lcx_lightning.methods.library import methods, read_method
from lcx_lightning.methods.patterns.base import Band, Selection
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.schema.kinds import allowed_values

SPEC = RopeSpec(dim=16, base=10_000.0, pretrain_length=32)
OPEN = {"factor": 4, "train_factor": 1, "pretrain_length": 32}
BY_HAND = {  # what no method file names, or leaves at none
    RopeSpec: {"dim": 16, "base": 1e4, "pretrain_length": 32, "feature_scale": 1.0, "window": 8},
    Band: {"min_distance": 1, "max_distance": 2, "first_keys": 1, "skipped_keys": 1, "min_apart": 1, "max_apart": 2},
    Selection: {"candidates": Band(), "tokens": 2, "first_layer": 0.5},
}
NEVER = [math.nan, math.inf, -math.inf, "a", "4", True, -1, [4], 10**400, 1e300, 1j]
ZERO = {  # where 0 says something
    "sink_tokens", "first_layer", "slope", "min_distance", "max_distance", "first_keys", "skipped_keys", "min_apart",
    "max_apart", "without",
}  # fmt: skip
ZERO_TURNS = ("NTKByParts", "slow")


def described(node):
    """Yield the class or function of every `_target_` in a method, with its arguments, those inside built."""
    arguments = {}
    for name, value in node.items():
        if isinstance(value, dict):
            yield from described(value)
            value = built(value)
        arguments[name] = value
    if target := arguments.pop("_target_", None):
        module, name = target.rsplit(".", 1)
        yield getattr(importlib.import_module(module), name), arguments


def built(node):
    """Return what a `_target_` describes."""
    kind, arguments = list(described(node))[-1]
    return call(kind, arguments)


def call(kind, arguments):
    """Call a class or a function."""
    more = {"spec": SPEC} if "spec" in inspect.signature(kind).parameters else {}
    if not dataclasses.is_dataclass(kind):
        return kind(**more, **arguments)
    made = kind.__new__(kind)
    inspect.unwrap(kind.__init__)(made, **arguments)  # without the checks of types that the tests add
    return made


def everything():
    """Return the arguments of every class and function that a method file names, by class or function."""
    found = dict(BY_HAND)
    for name in methods():
        method = OmegaConf.to_container(OmegaConf.create(OPEN | {"method": read_method(name)}).method, resolve=True)
        for kind, arguments in described(method):
            kept = found.setdefault(kind, arguments)
            kept |= {key: value for key, value in arguments.items() if kept[key] is None}
    return found


ALL = everything()
CASES = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind, arguments in ALL.items()
    for name, value in arguments.items()
    if isinstance(value, int | float)
]


def test_every_public_class_with_arguments_is_among_them():
    for part in ("scaling", "positions", "temperature", "patterns"):
        package = importlib.import_module(f"lcx_lightning.{part}")
        kinds = [getattr(package, name) for name in dir(package)]
        asking = {k for k in kinds if not inspect.isabstract(k) and {*inspect.signature(k).parameters} - {"spec"}}
        assert {kind.__name__ for kind in asking} <= {kind.__name__ for kind in ALL} | {"Placement"}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_what_is_no_sensible_number_is_refused_by_name(kind, name):
    arguments = ALL[kind]
    call(kind, arguments)
    if isinstance(arguments[name], bool):
        refused = ["false", 1, 0, 2.5, None, math.nan]
    else:
        refused = [*NEVER, *([] if name in ZERO or (kind.__name__, name) == ZERO_TURNS else [0])]
        counts = "whole number" in allowed_values(inspect.signature(kind).parameters[name].annotation)
        refused += [2.5] if counts else []
    for value in refused:
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            call(kind, arguments | {name: value})


@pytest.mark.parametrize(("kind", "name"), [case for case in CASES if case.values[1] in ZERO])
def test_zero_is_taken_where_it_says_something(kind, name):
    call(kind, ALL[kind] | {name: 0})


@pytest.mark.parametrize(
    ("name", "part", "setting", "values"),
    [
        ("random_positions", "positions", "factor", [1e12, 1025]),
        ("clex", "scaling", "width", [1e9, 1025]),
        ("clex", "scaling", "steps", [1e9, 10_001]),
        ("clex", "scaling", "alpha_slope", [1e-300, 1e-4, 1e4]),
        ("yarn", "scaling", "slow", [1e-320, 1e-7]),
    ],
)
def test_sizes_that_no_machine_or_float_holds_are_refused_with_the_bound(name, part, setting, values):
    method = OmegaConf.to_container(OmegaConf.create(OPEN | {"method": read_method(name)}).method, resolve=True)
    kind, arguments = next(described(method[part]))
    for value in values:
        with pytest.raises(ValueError, match=rf"^{setting} must be a .* of at least|^{setting} must be .* up to"):
            call(kind, arguments | {setting: value})
