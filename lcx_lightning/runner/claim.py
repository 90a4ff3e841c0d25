"""experiment.json: what all commands that ran under one experiment name have asked for, as a union under a lock."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig

from lcx_lightning.results import records
from lcx_lightning.results.naming import named
from lcx_lightning.results.report.relative import check_against
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.run_json import described

FILE = "experiment.json"


def claim(config: DictConfig, command: str, arms: list[Arm]) -> Path:
    """Return the folder of the experiment, with experiment.json in it, whose runs and commands these are added to.

    Of the question, of what to look for, and of the arm to compare with, the last that a command has named counts.

    Raises:
        ValueError: If the folder is another experiment's, it or the cache cannot be written, or `report.against` is the
            name of no arm.
    """
    folder, against = Path(config.results_dir) / config.experiment, config.report.against
    _make_folder(folder, "results_dir")
    _make_folder(Path(config.cache_dir).expanduser(), "cache_dir")
    with FileLock(folder / f".{FILE}.lock"):
        path = folder / FILE
        before = records.read_experiment_file(folder)
        owner = before.get("name", config.experiment)
        if owner != config.experiment:
            raise ValueError(
                f"{folder} holds the records of experiment {owner!r}, not of {config.experiment!r}: move it away."
            )
        if against is not None:
            check_against(against, _names(folder, before.get("runs", []), arms))
        records.write_json(path, _union(before, config, command, arms) | {"against": against or before.get("against")})
    return folder


def _union(before: dict[str, Any], config: DictConfig, command: str, arms: list[Arm]) -> dict[str, Any]:
    """Return what experiment.json is to say: runs and commands each once, in the order in which they first came."""
    return {
        "name": config.experiment,
        "question": config.question or before.get("question"),
        "look_for": list(config.look_for) or before.get("look_for") or [],
        "commands": list(dict.fromkeys([*(before.get("commands") or ()), command])),
        "runs": list(dict.fromkeys([*(before.get("runs") or ()), *(arm.folder.name for arm in arms)])),
    }


def _names(folder: Path, claimed: list[str], arms: list[Arm]) -> list[str]:
    """Return the names that arms of the folder and of this command will have in a report."""
    new = {arm.folder.name: records.Run(arm.folder, described(arm), [], {}) for arm in arms}
    there = [folder / name for name in claimed if name not in new and (folder / name / "run.json").exists()]
    return [run.arm for run in named([*map(records.read_run, there), *new.values()])]


def _make_folder(folder: Path, setting: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(f"{setting} must be a folder that can be written, but {folder} cannot: choose another.")
