"""Contents of what a configuration names: files, folders and own classes, hashed, so that keys cover them."""

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from lcx_lightning.schema.targets import PACKAGE

INSTALLED = ("site-packages", "dist-packages")
SOURCES = ("path", "data_files", "folder")  # settings that may name a folder


def contents_in(config: Any) -> dict[str, str]:
    """Return the hash of every file that a configuration names, by what names it.

    These are files, those in a folder that is a source of examples, and the Python files of classes outside this
    package, with those that they import from the user's own folder.
    """
    return dict(_contents(config, ""))


def own_packages(config: Any) -> set[str]:
    """Return the top-level names of the user's own modules whose classes a configuration names; none is installed."""
    if isinstance(config, list):
        return set().union(*map(own_packages, config))
    if not isinstance(config, dict):
        return set()
    top = str(config.get("_target_", "")).split(".")[0]
    own = {top} if top and top not in (PACKAGE, *sys.stdlib_module_names) and _is_own(top) else set()
    return own.union(*map(own_packages, config.values()))


def _is_own(top: str) -> bool:
    """Return whether a top-level module is there, and is not installed."""
    with suppress(ImportError, ValueError):
        spec = find_spec(top)
        return spec is not None and not _is_installed(spec)
    return False


def _contents(node: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for inner, value in node.items():
            yield from _contents(value, name if name in SOURCES else str(inner))
    elif isinstance(node, list):
        for value in node:
            yield from _contents(value, name)
    elif isinstance(node, str) and name == "_target_":
        if node.split(".")[0] != PACKAGE:
            yield from ((module, _hash(path)) for module, path in sorted(own_modules(node.rpartition(".")[0]).items()))
    elif isinstance(node, str):
        yield from ((str(path), _hash(path)) for path in _files(node, folders=name in SOURCES))


def _files(text: str, *, folders: bool) -> list[Path]:
    """Return the file of a path, or all files in it; none if it is neither, as most texts."""
    # of a text that is too long for a path, holds a null character, or begins with a tilde
    with suppress(OSError, ValueError, RuntimeError):
        place = Path(text).expanduser()
        if place.is_file():
            return [place]
        if folders and place.is_dir():
            return sorted(path for path in place.rglob("*") if path.is_file())
    return []


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def own_modules(name: str) -> dict[str, Path]:
    """Return the files of a module outside this package that its results depend on, by name of the module or file.

    These are all Python files of its top-level package, and every module that they import and that is not installed.
    What else its code reads is known only if the configuration names it.

    Raises:
        ValueError: If a file is no Python.
    """
    found: dict[str, Path] = {}
    left = [name, *_files_beside(name)]
    while left:
        module = left.pop()
        path = module if isinstance(module, Path) else _file_of(module)
        if path is None or path in found.values():
            continue
        found[str(path) if isinstance(module, Path) else module] = path
        left += _imports(path, module if isinstance(module, str) else "")
    return found


def _files_beside(name: str) -> list[Path]:
    """Return the Python files of the top-level package of a module, but for hidden folders."""
    spec = find_spec(name.split(".")[0])
    folders = [Path(folder) for folder in (spec.submodule_search_locations or () if spec else ())]
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*.py")
        if not any(part.startswith(".") or part in INSTALLED for part in path.relative_to(folder).parts)
    )


def _file_of(module: str) -> Path | None:
    """Return the Python file of a module that is neither installed nor of this package, None if there is none."""
    if module.split(".")[0] in (PACKAGE, *sys.stdlib_module_names):
        return None
    with suppress(ImportError, AttributeError, ValueError):
        top = find_spec(module.split(".")[0])  # without importing it, where it is installed
        if top is None or _is_installed(top):
            return None
        spec = find_spec(module)
        if spec and spec.origin and spec.origin.endswith(".py") and not _is_installed(spec):
            return Path(spec.origin)
    return None


def _is_installed(spec: ModuleSpec) -> bool:
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""]
    return any(part in INSTALLED for place in places for part in Path(place).parts)


def _imports(path: Path, module: str) -> Iterator[str]:
    """Yield the names of the modules that a file may import, wherever the statement stands."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Python: {error}. Correct it.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            start = "." * node.level + (node.module or "")
            with suppress(ImportError):  # beyond the top-level package: Python itself says so
                base = resolve_name(start, package) if node.level else start
                yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
