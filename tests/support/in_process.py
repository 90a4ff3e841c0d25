"""The command `lcx run` in pytest's own process, to its exit."""

import runpy
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from lcx_lightning.training import preemption


def exit_code(words, monkeypatch):
    """Return the exit code of `lcx run` with these words, which must end with one. What it prints stays captured."""
    monkeypatch.setattr(sys, "argv", ["lcx", *map(str, words)])
    monkeypatch.setattr(preemption, "listen", lambda: None)  # the signals are pytest's
    try:
        with pytest.raises(SystemExit) as stop:
            runpy.run_module("experiments.run", run_name="__main__")
    finally:
        GlobalHydra.instance().clear()
    return stop.value.code
