"""run.json: what a run was, on what it ran, and how far it came."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lcx_lightning.results import records
from lcx_lightning.runner.arms import Arm

PACKAGES = ("lcx-lightning", "torch", "lightning", "transformers", "torchdiffeq", "datasets")


def write_run(arm: Arm, state: str, **more: Any) -> None:
    """Write run.json atomically. What it said before stays unless it is said anew."""
    said = {
        "run": arm.run,
        "experiment": arm.config["experiment"],
        "arm": arm.name,
        "method": "+".join(arm.methods),
        "factor": arm.config["factor"],
        "seed": arm.seed,
        "order": arm.order,
        "state": state,
        "reason": None,
        "traceback": None,
        "pretrain_length": arm.pretrain_length,
        "train_length": arm.train_length,
        "lengths": arm.lengths,
        "not_evaluated": arm.not_evaluated,
        "fingerprint": arm.fingerprint,
        "metrics": arm.metrics,
        "config": arm.config,
        "git_commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": _hardware(),
    }
    records.write_json(arm.folder / "run.json", read_run(arm) | said | more)


def read_run(arm: Arm) -> dict[str, Any]:
    """Return what run.json says, nothing if there is none."""
    path = arm.folder / "run.json"
    return records.read_json(path) if path.exists() else {}


def _git_commit() -> str | None:
    here = Path(__file__).parent
    try:
        asked = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return asked.stdout.strip() or None


def _hardware() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}
