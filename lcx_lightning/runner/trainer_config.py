"""The processes of one arm: the first decides, writes and reports, and all compute."""

from collections.abc import Callable
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from lcx_lightning.distributed import process_group


def process_count(trainer: dict[str, Any]) -> int:
    """Return the number of processes that a trainer's configuration asks for on this machine.

    Raises:
        ValueError: If it gives no number of devices.
    """
    devices = trainer["devices"]
    if not isinstance(devices, int) or devices < 1:
        raise ValueError(f"trainer.devices must be a number of devices, 1 or more, got {devices!r}.")
    return devices


def context(trainer: dict[str, Any]) -> int:
    """Return the number of processes that share every row in training."""
    return trainer.get("strategy", {}).get("context", 1)


def bare_trainer(trainer: dict[str, Any]) -> L.Trainer:
    """Return a trainer that trains nothing, to see what this machine has for it."""
    plain = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 1}
    return instantiate(trainer)(plugins=[LightningEnvironment()], **plain)


def evaluates_in_shards(trainer: dict[str, Any]) -> bool:
    """Return whether the processes of this arm share one model in evaluation, and so all read the same texts."""
    return process_group.world_size() > 1 and trainer.get("strategy", {}).get("shard_evaluation", False)


PLAIN = {"_target_": "lcx_lightning.training.lr_schedules.warmup_stable_decay", "_partial_": True}


def schedule_of(recipe: dict[str, Any]) -> Callable[[int], float]:
    """Return the factor of the learning rates by optimizer step: warmup_stable_decay, unless the recipe names another.

    Raises:
        ValueError: If the schedule does not fit into the steps.
    """
    return instantiate({**PLAIN, **recipe["schedule"]})(steps=recipe["steps"])
