"""Read, compose and build method files: one YAML file per method, in `configs/method`."""

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lcx_lightning.methods.targets import check_targets

if TYPE_CHECKING:
    from lcx_lightning.methods.method import Method
    from lcx_lightning.methods.scaling.base import RopeSpec

METHODS = Path(__file__).parent / "configs" / "method"
PARTS = ("scaling", "positions", "temperature", "pattern")


def methods() -> list[str]:
    """Return the names of the available methods, sorted."""
    return sorted(path.stem for path in METHODS.glob("*.yaml"))


def read_method(names: str | Sequence[str]) -> DictConfig:
    """Return the four parts of a method, or of several composed, with interpolations such as `${factor}` still open.

    A name that ends in .yaml is the path of a method file outside this package.

    Raises:
        ValueError: If no name is given, a name is unknown, or two methods set one part differently.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"An extension needs at least one method. There are: {', '.join(methods())}.")
    parts = [_read(name) for name in names]
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
    pretrained = _read("pretrained")
    unknown = set(method) - set(PARTS)
    if unknown:
        raise ValueError(f"A method has the parts {', '.join(PARTS)}, got {', '.join(sorted(map(str, unknown)))}.")
    return OmegaConf.create({part: method[part] if part in method else pretrained[part] for part in PARTS})


def own_modules(names: str | Sequence[str]) -> list[str]:
    """Return the modules that may hold classes of the user's own: the folders in the paths of method files."""
    names = [names] if isinstance(names, str) else list(names)
    return [part for name in names if name.endswith(".yaml") for part in Path(name).absolute().parts]


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

    parts = OmegaConf.to_container(method, resolve=True)
    assert isinstance(parts, dict)
    if own_modules is not None:
        check_targets({str(part): node for part, node in parts.items()}, own_modules)
    parts["scaling"] |= {"spec": spec}
    return Method(**{str(part): _build(node) for part, node in parts.items()})


def _read(name: str, beside: Path | None = None) -> DictConfig:
    path = _path(name, beside)
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    if path.parent != METHODS:
        check_targets(config, path.absolute().parts)
    bases = [base for base in config.pop("defaults", []) if base != "_self_"]
    merged = OmegaConf.merge(*[_read(base, path.parent) for base in bases], config)
    assert isinstance(merged, DictConfig)
    return merged


def _path(name: str, beside: Path | None) -> Path:
    """Return the file of a method: the given path, a file in the folder `beside`, or one of this package."""
    if name.endswith(".yaml"):
        if not Path(name).is_file():
            raise ValueError(f"There is no method file {name}.")
        return Path(name)
    if beside and (beside / f"{name}.yaml").is_file():
        return beside / f"{name}.yaml"
    if name not in methods():
        raise ValueError(f"There is no method {name!r}. There are: {', '.join(methods())}. Or give the path of a file.")
    return METHODS / f"{name}.yaml"


def _build(node: Any) -> Any:
    """Return the object that a `_target_` node describes, after building its arguments."""
    if not isinstance(node, dict):
        return node
    arguments = {key: _build(value) for key, value in node.items() if key != "_target_"}
    module, name = node["_target_"].rsplit(".", 1)
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ValueError(
            f"_target_: {node['_target_']} cannot be imported: {error}. Correct its name or file."
        ) from error
    return target(**arguments)
