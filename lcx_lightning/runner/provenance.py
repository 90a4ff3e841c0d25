"""What computed a number: code, versions of libraries, and hardware."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lcx_lightning.runner.arms import CACHE_FORMAT

PACKAGES = ("lcx-lightning", "torch", "lightning", "transformers", "torchdiffeq", "datasets")


def provenance() -> dict[str, Any]:
    """Return what computes in this process, as plain data."""
    return {
        "git_commit": _git_commit(Path(__file__)),
        "cache_format": CACHE_FORMAT,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": _hardware(),
    }


@cache
def _git_commit(file: Path) -> str | None:
    """Return the commit of a file, with `-dirty` if its repository has other changes; None if no repository has it.

    An installed package is often inside another repository, which does not know it.
    """
    commands = (
        ["ls-files", "--error-unmatch", file.name],
        ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    said = ""
    for words in commands:
        try:
            asked = subprocess.run(["git", "-C", file.parent, *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        if asked.returncode:
            return None
        said = asked.stdout.strip()
    return said or None


def _hardware() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}
