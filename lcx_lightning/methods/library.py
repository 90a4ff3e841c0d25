"""Compose methods of their files, one YAML file per method in `configs/method`, and build them."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lcx_lightning.methods.method_file import METHODS, PARTS, methods, read_file
from lcx_lightning.schema.build import TARGET, build
from lcx_lightning.schema.targets import check_targets

if TYPE_CHECKING:
    from lcx_lightning.methods.method import Method
    from lcx_lightning.methods.scaling.base import RopeSpec

__all__ = [
    "METHODS",
    "PARTS",
    "Names",
    "build_method",
    "complete",
    "methods",
    "own_files",
    "own_modules",
    "read_method",
]
Names = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def read_method(names: Names) -> DictConfig:
    """Return the four parts of a method, or of several composed, with interpolations such as `${factor}` still open.

    A name that ends in .yaml is the path of a method file outside this package.

    Raises:
        ValueError: If no name is given, a name is unknown, a file is no method, or two set one part differently.
    """
    names = _listed(names)
    if not names:
        raise ValueError(f"An extension needs at least one method. There are: {', '.join(methods())}.")
    parts = [read_file(name) for name in names]
    for part in PARTS:
        claims = {name: config[part] for name, config in zip(names, parts, strict=True) if part in config}
        if len({OmegaConf.to_yaml(claim) for claim in claims.values()}) > 1:
            raise ValueError(
                f"Composed methods must not set one part differently, but {' and '.join(claims)} all set {part}. Leave "
                "all but one out, or write a method file that says which one counts."
            )
    merged = OmegaConf.merge(*parts)
    assert isinstance(merged, DictConfig)
    return complete(merged)


def complete(method: DictConfig) -> DictConfig:
    """Return all four parts, in their order; a part that the method does not set is as in pretraining.

    Raises:
        ValueError: If the method sets something else than the four parts.
    """
    pretrained = _pretrained()
    unknown = set(method) - set(PARTS)
    if unknown:
        raise ValueError(f"A method has the parts {', '.join(PARTS)}, got {', '.join(sorted(map(str, unknown)))}.")
    return OmegaConf.create({part: method[part] if part in method else pretrained[part] for part in PARTS})


@cache
def _pretrained() -> DictConfig:
    return read_file("pretrained")


def own_files(names: Names) -> list[str]:
    """Return the paths of method files among the names of methods."""
    return [name for name in _listed(names) if name.endswith(".yaml")]


def own_modules(names: Names) -> list[str]:
    """Return the modules that may hold classes of the user's own: the folders in the paths of method files."""
    return [part for name in own_files(names) for part in Path(name).absolute().parts]


def build_method(method: DictConfig, spec: "RopeSpec", own_modules: Sequence[str] | None = ()) -> "Method":
    """Return the method, built for a checkpoint.

    Args:
        method: The four parts, without open values.
        spec: Rotary embedding of the checkpoint; the scaling is built with it.
        own_modules: Modules of the user's own, whose classes may be named beside the public ones of this package. None
            if the names were checked when the configuration was composed.

    Raises:
        ValueError: If another class is named, a class does not take its arguments, or a part is of the wrong kind.
    """
    from lcx_lightning.methods.method import Method  # slow to import, and Hydra imports this module even for --help
    from lcx_lightning.methods.patterns.base import Pattern
    from lcx_lightning.methods.positions.base import PositionScheme
    from lcx_lightning.methods.scaling.base import FrequencyScaling
    from lcx_lightning.methods.temperature.base import Temperature

    parts = OmegaConf.to_container(method, resolve=True)
    assert isinstance(parts, dict)
    if own_modules is not None:
        check_targets({str(part): node for part, node in parts.items()}, own_modules)
    more = {"scaling": {"spec": spec}}
    built = {str(part): _build(node, str(part), **more.get(str(part), {})) for part, node in parts.items()}
    kinds = dict(zip(PARTS, (FrequencyScaling, PositionScheme, Temperature, Pattern), strict=True))
    for part, kind in kinds.items():
        if not isinstance(built[part], kind):
            raise ValueError(f"method.{part} must be a {kind.__name__}, got _target_: {method[part]['_target_']}.")
    return Method(**built)


def _listed(names: Names) -> list[str]:
    single = isinstance(names, str | os.PathLike)
    if not single and not isinstance(names, Sequence | ListConfig):
        raise ValueError(f"A method is a name, the path of a file, or a list of these, got {names!r}.")
    listed = [os.fspath(name) if isinstance(name, os.PathLike) else name for name in ([names] if single else names)]
    for name in listed:
        if not isinstance(name, str):
            raise ValueError(f"A method is a name or the path of a file, got {name!r}.")
    return listed


def _build(node: Any, part: str, **more: Any) -> Any:
    """Return the object that a part of a method describes. `more`: arguments beside those of the method's file."""
    if not isinstance(node, dict) or not isinstance(node.get(TARGET), str):
        raise ValueError(f"method.{part} must be a mapping with the name of a class in {TARGET}, got {node!r}.")
    return build(node, f"method.{part}", **more)
