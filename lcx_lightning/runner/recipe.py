"""The training of a stage, read once: how long, on how much, and by which optimizer and schedule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat, PositiveInt

from lcx_lightning.schema.build import PARTIAL, build
from lcx_lightning.schema.checked import section

if TYPE_CHECKING:
    from torch.optim import Optimizer

DEFAULT_SCHEDULE = {"_target_": "lcx_lightning.training.warmup_stable_decay"}


@dataclass(frozen=True)
class Training:
    """The values of the configuration group `training`, and of `model.recipe`.

    Args:
        steps: Optimizer steps.
        rows: Rows of an optimizer step, over all processes and micro-batches.
        length_factor: Tokens of a row, in units of the pretraining length.
        validation_steps: Steps of rows that the validation loss is computed on.
        clip: Largest norm of the gradient, None if there is no limit.
        optimizer: Description of the optimizer.
        schedule: Values of the learning-rate schedule: of warmup_stable_decay, unless another is named.
        lora: Settings of low-rank adapters, or None.
        zero_shot: Whether nothing is trained.
    """

    steps: PositiveInt
    rows: PositiveInt
    length_factor: PositiveFloat
    validation_steps: PositiveInt
    clip: PositiveFloat | None
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    lora: Mapping[str, Any] | None = None
    zero_shot: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a stage is trained.

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
    optimizer: "Callable[[Any], Optimizer]"
    schedule: Callable[[int], float]
    lora: Mapping[str, Any] | None

    @classmethod
    def read(cls, config: Mapping[str, Any], pretrain_length: int, key: str) -> "Recipe":
        """Return the recipe of a configuration.

        Args:
            config: Values of the configuration group `training`, or of `model.recipe`.
            pretrain_length: Pretraining length L in tokens, the unit of `length_factor`.
            key: Key of these values in the configuration, for messages.

        Raises:
            ValueError: If a value is not allowed, or the schedule does not fit into the steps.
        """
        values = section(Training, config, key)
        return cls(
            steps=values.steps,
            rows=values.rows,
            length=train_length(config, pretrain_length),
            validation_steps=values.validation_steps,
            clip=values.clip,
            optimizer=build(values.optimizer, f"{key}.optimizer"),
            schedule=schedule_of(config, key),
            lora=values.lora,
        )


def train_length(config: Mapping[str, Any], pretrain_length: int) -> int:
    """Return the tokens of a training row."""
    return round(config["length_factor"] * pretrain_length)


def schedule_of(config: Mapping[str, Any], key: str = "training") -> Callable[[int], float]:
    """Return the factor of the learning rates by optimizer step: warmup_stable_decay, unless another is named.

    Raises:
        ValueError: If the schedule does not fit into the steps.
    """
    described = {**DEFAULT_SCHEDULE, **config["schedule"], PARTIAL: False}
    return build(described, f"{key}.schedule", steps=config["steps"])
