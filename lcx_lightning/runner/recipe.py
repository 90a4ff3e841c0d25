"""The training of a stage, read once: how long, on how much, and by which optimizer and schedule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from torch.optim import Optimizer

from lcx_lightning.methods.checks import number

DEFAULT_SCHEDULE = {"_target_": "lcx_lightning.training.warmup_stable_decay", "_partial_": True}
COUNTS = ("steps", "rows", "validation_steps")


@dataclass(frozen=True)
class Recipe:
    """The values of a training configuration.

    Args:
        steps: Optimizer steps.
        rows: Rows of an optimizer step, over all processes and micro-batches.
        length: Tokens of a row.
        validation_steps: Steps of rows that the validation loss is computed on.
        clip: Largest norm of the gradient, None if there is no limit.
        optimizer: Returns the optimizer of a model.
        schedule: Factor of the learning rates by optimizer step.
        lora: Settings of low-rank adapters, or None.
    """

    steps: int
    rows: int
    length: int
    validation_steps: int
    clip: float | None
    optimizer: Callable[[Any], Optimizer]
    schedule: Callable[[int], float]
    lora: Mapping[str, Any] | None

    @classmethod
    def read(cls, config: Mapping[str, Any], pretrain_length: int, stage: str) -> "Recipe":
        """Return the recipe of a configuration.

        Args:
            config: Values of the configuration group `training`, or of `model.recipe`.
            pretrain_length: Pretraining length L in tokens, the unit of `length_factor`.
            stage: Stage and arm in words, for messages.

        Raises:
            ValueError: If a count is below 1, or the schedule does not fit into the steps.
        """
        if (least := min(config[name] for name in COUNTS)) < 1:
            raise ValueError(f"The {stage} needs steps, rows and validation_steps of at least 1, got {least}.")
        if config["clip"] is not None:
            number(f"clip of the {stage}", config["clip"], above=0)
        return cls(
            steps=config["steps"],
            rows=config["rows"],
            length=train_length(config, pretrain_length),
            validation_steps=config["validation_steps"],
            clip=config["clip"],
            optimizer=instantiate(config["optimizer"]),
            schedule=schedule_of(config),
            lora=config.get("lora"),
        )


def train_length(config: Mapping[str, Any], pretrain_length: int) -> int:
    """Return the tokens of a training row."""
    return round(config["length_factor"] * pretrain_length)


def schedule_of(config: Mapping[str, Any]) -> Callable[[int], float]:
    """Return the factor of the learning rates by optimizer step: warmup_stable_decay, unless another is named.

    Raises:
        ValueError: If the schedule does not fit into the steps.
    """
    return instantiate({**DEFAULT_SCHEDULE, **config["schedule"]})(steps=config["steps"])
