"""Dependencies point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lcx_lightning"
LAYERS = [  # a module imports from its own part and from earlier layers only
    {"scaling", "positions", "temperature", "patterns", "results", "families", "head"},
    {"attention", "clex_checkpoint", "shards"},
    {"adapters", "cache", "context_parallel", "method"},
    {"configs", "generation", "data", "fingerprint", "passes", "probe"},
    {"models"},
    {"attachment"},
    {"training", "evaluation", "export"},
]
OFFERED = {"lcx_lightning.attachment", "lcx_lightning.configs"}
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
MODULES = [path.relative_to(ROOT) for path in sorted(PACKAGE.rglob("*.py"))]
SMALL = {"torch", "jaxtyping"}
FOREIGN = {  # outside the standard library and the package itself
    "scaling": SMALL | {"torchdiffeq"},
    "positions": SMALL,
    "temperature": SMALL,
    "patterns": SMALL,
    "attention": SMALL,
    "method": SMALL,
    "adapters": SMALL | {"peft"},
    "configs": {"omegaconf"},
    "fingerprint": SMALL,
    "context_parallel": SMALL,
    "head": SMALL,
    "probe": SMALL,
}
ONLY = {  # library -> parts or modules of the package that may import it
    "transformers": {
        "attachment",
        "cache",
        "clex_checkpoint",
        "data/tokens",
        "export",
        "families",
        "generation",
        "models",
        "shards",
    },
    "lightning": {"data", "training"},
    "hydra": set(),
    "peft": {"adapters"},
    "torchdiffeq": {"scaling/clex"},
}


def imported(path):
    """Return the full names of what a module imports at run time, anywhere in it."""
    names, hidden = set(), set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            hidden |= set(ast.walk(node))
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_of(path):
    """Return the name of a module inside the package: scaling/clex, method ..."""
    return path.relative_to("lcx_lightning").with_suffix("").as_posix()


def part_of(path):
    return module_of(path).split("/")[0]


@pytest.mark.parametrize("path", MODULES, ids=map(str, MODULES))
def test_a_module_imports_only_from_earlier_layers(path):
    part = part_of(path)
    if part == "__init__":  # what the library offers, imported when it is asked for
        assert imported(path) <= {"typing.Any", "typing.TYPE_CHECKING", *OFFERED}
        return
    for name in imported(path):
        if name.startswith("lcx_lightning."):
            other = name.split(".")[1]
            assert other == part or RANK[other] < RANK[part], f"{part} imports {name}"
        assert not name.startswith(("experiments", "tests")), f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=map(str, MODULES))
def test_a_module_imports_only_the_libraries_of_its_part(path):
    libraries = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"lcx_lightning"}
    allowed = FOREIGN.get(part_of(path))
    if allowed is not None:
        assert libraries <= allowed
    for library in libraries & set(ONLY):
        assert {part_of(path), module_of(path)} & ONLY[library], f"{path} imports {library}"


def test_at_most_one_module_imports_wandb():
    assert len([path for path in MODULES if any(name.split(".")[0] == "wandb" for name in imported(path))]) <= 1


def test_every_part_has_its_layer():
    assert {part_of(path) for path in MODULES} - {"__init__"} <= set(RANK)


def test_importing_the_library_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import lcx_lightning; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert roots <= {"lcx_lightning", *sys.stdlib_module_names}
