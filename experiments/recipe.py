"""What the values of a training recipe build."""

from collections.abc import Callable
from typing import Any

from hydra.utils import instantiate

PLAIN = {"_target_": "lcx_lightning.training.schedule.warmup_stable_decay", "_partial_": True}


def schedule_of(recipe: dict[str, Any]) -> Callable[[int], float]:
    """Return the factor of the learning rates by optimizer step: warmup_stable_decay, unless the recipe names another.

    Raises:
        ValueError: If the schedule does not fit into the steps.
    """
    return instantiate({**PLAIN, **recipe["schedule"]})(steps=recipe["steps"])
