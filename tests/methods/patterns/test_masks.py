"""The masks drawn in the files of the patterns are those of the code."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import torch

from lcx_lightning.methods import patterns
from lcx_lightning.methods.patterns.base import Pattern

TOKENS = 8
TITLE = re.compile(r"Mask of (\w+)\((.*)\)")
GRID = re.compile(rf"(?:^ +[#=?.]{{{TOKENS}}}$\n?){{{TOKENS}}}", re.MULTILINE)
FOLDER = Path(patterns.__path__[0])
FILES = [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("__init__", "base", "sizes")]


def drawn_mask(pattern: Pattern) -> list[str]:
    """Return a row for each query: # true distance, = another distance, ? selectable by the last query, . not seen."""
    at, selection = torch.arange(TOKENS), pattern.selection()
    grid = [["."] * TOKENS for _ in range(TOKENS)]
    for band in pattern.bands():
        visible = band.visible(at[:, None], at[None, :], at[:, None].double(), at[None, :].double())
        rotated = band.query_at(at.double())[:, None] - band.key_at(at.double())[None, :]
        for q, k in visible.nonzero().tolist():
            assert grid[q][k] == "."
            grid[q][k] = "#" if rotated[q, k] == q - k else "="
    if selection is not None:
        for k in selection.candidates.visible(at[-1], at).nonzero()[:, 0].tolist():
            assert grid[-1][k] == "."
            grid[-1][k] = "?"
    return ["".join(row) for row in grid]


@pytest.mark.parametrize("name", FILES)
def test_docstring_shows_its_mask(name):
    module = importlib.import_module(f"lcx_lightning.methods.patterns.{name}")
    title, grid = TITLE.search(module.__doc__), GRID.search(module.__doc__)
    assert title
    assert grid
    call = ast.parse(f"f({title[2]})", mode="eval").body
    assert isinstance(call, ast.Call)
    sizes = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert drawn_mask(getattr(module, title[1])(**sizes)) == grid[0].split()
