"""The public names of the package, as a shell completes them."""

import json
import subprocess
import sys

import pytest
from support.lab import ROOT

import lcx_lightning as lcx

FUNCTIONS = {"attach", "detach", "load", "methods"}
PARTS = {
    "data",
    "distributed",
    "evaluation",
    "laboratory",
    "models",
    "patterns",
    "positions",
    "results",
    "runner",
    "scaling",
}
PARTS |= {"temperature", "training"}
COMPLETED = """
import json, rlcompleter, sys
import lcx_lightning as lcx
complete, found = rlcompleter.Completer({"lcx": lcx}).complete, []
while (match := complete("lcx.", len(found))) is not None:
    found.append(match.rstrip("()"))
print(json.dumps([found, dir(lcx), "torch" in sys.modules]))
"""


def test_dir_lists_the_public_names():
    assert set(dir(lcx)) == set(lcx.__all__) == FUNCTIONS | PARTS


def test_functions_are_those_of_their_modules():
    from lcx_lightning.models.attach import attach
    from lcx_lightning.runner.load import load

    assert (lcx.attach, lcx.load) == (attach, load)
    with pytest.raises(AttributeError, match="atach"):
        _ = lcx.atach  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_a_shell_completes_them_without_torch():
    done = subprocess.run([sys.executable, "-c", COMPLETED], cwd=ROOT, capture_output=True, text=True, check=True)
    completed, listed, torch = json.loads(done.stdout)
    assert {word.removeprefix("lcx.") for word in completed} == set(listed) == FUNCTIONS | PARTS
    assert not torch
