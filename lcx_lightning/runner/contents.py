"""Contents of what a configuration names: files, folders and own classes, hashed, so that keys cover them."""

import ast
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from lcx_lightning.methods.targets import PACKAGE

SOURCES = ("path", "data_files", "folder")  # settings that may name a folder


def contents_in(config: Any) -> dict[str, str]:
    """Return the hash of every file that a configuration names, by what names it.

    These are files, those in a folder that is a source of examples, and the Python files of classes outside this
    package, with those that they import from the user's own folder.
    """
    return dict(_contents(config, ""))


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
        yield from ((str(path), _hash(path)) for path in _files(Path(node).expanduser(), folders=name in SOURCES))


def _files(place: Path, *, folders: bool) -> list[Path]:
    """Return the file of a path, or all files in it; none if it is neither, as most texts."""
    with suppress(OSError, ValueError):  # of a text that is too long for a path, or holds a null character
        if place.is_file():
            return [place]
        if folders and place.is_dir():
            return sorted(path for path in place.rglob("*") if path.is_file())
    return []


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def own_modules(name: str) -> dict[str, Path]:
    """Return the files of a module outside this package and of what it imports from beside it, by name of the module.

    Beside it is everything in the folder that holds its top-level package, but for installed packages.
    """
    root = _root_of(name)
    found: dict[str, Path] = {}
    left = [name]
    while left and root:
        module = left.pop()
        path = _file_of(module)
        if module in found or path is None or root not in path.parents or "site-packages" in path.parts:
            continue
        found[module] = path
        left += [*_imports(path, module), *([module.rpartition(".")[0]] if "." in module else [])]
    return found


def _root_of(name: str) -> Path | None:
    """Return the folder that holds the top-level package or module of a dotted name."""
    spec = find_spec(name.split(".")[0])
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))
    return Path(places[0]).resolve().parent if places else None


def _file_of(module: str) -> Path | None:
    """Return the Python file of a module outside this package, None if there is none."""
    with suppress(ImportError, AttributeError, ValueError):
        spec = find_spec(module) if module.split(".")[0] != PACKAGE else None
        if spec and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin).resolve()
    return None


def _imports(path: Path, module: str) -> Iterator[str]:
    """Yield the names of the modules that a file may import, wherever the statement stands."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            with suppress(ImportError):  # beyond the top-level package: Python itself says so
                base = resolve_name(start, package) if node.level else start
                yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
