"""Method files: the parts that one YAML file sets, with those of the files that it stands on."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lcx_lightning.schema.build import TARGET
from lcx_lightning.schema.kinds import shown
from lcx_lightning.schema.near import did_you_mean
from lcx_lightning.schema.targets import check_targets
from lcx_lightning.schema.yaml_files import naming_yaml, read_yaml

METHODS = Path(__file__).parent / "configs" / "method"
PARTS = ("scaling", "positions", "temperature", "pattern")


def methods() -> list[str]:
    """Return the names of the available methods, sorted."""
    return sorted(path.stem for path in METHODS.glob("*.yaml"))


def read_file(name: str, named_by: tuple[Path, ...] = ()) -> DictConfig:
    """Return the parts that a method file sets, with those of the files it stands on.

    Args:
        name: Name or path of the method.
        named_by: Files that led to this one, each the base of the one before, the file that names it last.

    Raises:
        ValueError: If there is no such method, or its file is none of a method; the message names the file.
    """
    path = _path(name, named_by)
    if path.resolve() in {other.resolve() for other in named_by}:
        raise ValueError(f"defaults of the method file {named_by[-1]} lead back to {path}. Name another method there.")
    config = read_yaml(path)
    with naming_yaml(path):
        bases = _checked_bases(OmegaConf.to_container(config), path)
        config.pop("defaults", None)
        merged = OmegaConf.merge(*[read_file(base, (*named_by, path)) for base in bases if base != "_self_"], config)
        assert isinstance(merged, DictConfig)
        for part, value in dict(OmegaConf.to_container(merged)).items():  # pyright: ignore[reportCallIssue, reportArgumentType]
            if not isinstance(value, dict) or not isinstance(value.get(TARGET), str):
                raise ValueError(f"{part} must be a mapping with the name of a class in {TARGET}, got {shown(value)}.")
    return merged


def _checked_bases(plain: Any, path: Path) -> list[str]:
    """Return the files that a method file stands on; ValueError if it holds something else than parts."""
    if path.parent != METHODS:
        check_targets(plain, path.absolute().parts)
    bases = plain.pop("defaults", [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"defaults must be a list of methods, got {shown(bases)}.")
    if unknown := set(plain) - set(PARTS):
        raise ValueError(f"It may set {', '.join(PARTS)}, got {', '.join(map(str, unknown))}.")
    if not plain and not bases:
        raise ValueError(f"It sets none of {', '.join(PARTS)}.")
    for part, value in plain.items():
        if not isinstance(value, dict):
            raise ValueError(f"{part} must be a mapping with {TARGET}, got {shown(value)}.")
    return bases


def _path(name: str, named_by: tuple[Path, ...]) -> Path:
    """Return the file of a method: the given path, a file beside the one that names it, or one of this package."""
    if name.endswith(".yaml"):
        if not Path(name).is_file():
            raise ValueError(f"There is no method file {name}.")
        return Path(name)
    if named_by and (named_by[-1].parent / f"{name}.yaml").is_file():
        return named_by[-1].parent / f"{name}.yaml"
    if name not in methods():
        listed = [one.strip() for one in name.split(",")]
        several = f" Give several as a list: {listed}." if len(listed) > 1 and set(listed) <= set(methods()) else ""
        meant, there_are = several or did_you_mean(name, methods()), ", ".join(methods())
        raise ValueError(f"There is no method {name!r}.{meant} There are: {there_are}. Or give the path of a file.")
    return METHODS / f"{name}.yaml"
