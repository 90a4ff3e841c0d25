"""What must hold before anything is trained: settings that can run, and training that can begin and end."""

import os
from typing import Any

from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from lcx_lightning.data.datamodule import check_shares
from lcx_lightning.data.dataset import SEGMENTS, LongContextData
from lcx_lightning.distributed.fsdp import rows_at_once
from lcx_lightning.methods.method import Method
from lcx_lightning.models.attach import attach, check_attention
from lcx_lightning.models.context_parallel import check_split
from lcx_lightning.models.lora import add_adapters
from lcx_lightning.models.sources import ModelSource, skeleton
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.trainer_config import bare_trainer, context, process_count, schedule_of

DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}  # accelerator -> torch's name
CHOICES = {
    "fingerprint": ("with_run", "only"),
    "forecast": ("none", "only"),
    "data_report": ("none", "only"),
    "nonfinite": ("stop", "skip"),
}
COUNTS = {"every": 0, "batches": 1}  # of in_loop, and the least of each
ABOVE_ZERO = ("jobs", "seeds", "checkpoint_seconds")


def check_settings(config: DictConfig) -> None:
    """Raise a ValueError if a value of the experiment is missing, or is no number above 0 where one is needed."""
    missing = OmegaConf.missing_keys(OmegaConf.merge(config, {"pretrain_length": 1}))  # what the model tells
    if missing:
        raise ValueError(f"A value is needed: add {' '.join(f'{name}=VALUE' for name in sorted(missing))}.")
    for name in ABOVE_ZERO:
        value = config[name]
        if not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}.")
    for name, least in COUNTS.items():
        if not isinstance(config.in_loop[name], int) or config.in_loop[name] < least:
            raise ValueError(
                f"in_loop.{name} must be a whole number of at least {least}, got {config.in_loop[name]!r}."
            )
    for name, choices in CHOICES.items():
        if config[name] not in choices:
            raise ValueError(f"{name} must be {' or '.join(choices)}, got {config[name]!r}.")


def check_trainer(trainer: dict[str, Any]) -> None:
    """Raise a ValueError if this machine has not what the trainer needs: on a CPU, a core for each process."""
    processes, cores = process_count(trainer), os.cpu_count() or 1
    if trainer["accelerator"] == "cpu" and processes > cores:  # they would only wait for each other
        raise ValueError(
            f"trainer.devices={processes} processes need as many cores, and this machine has {cores}: take "
            f"trainer.devices={cores} or fewer. What a run computes does not depend on it."
        )
    try:
        bare_trainer(trainer)
    except MisconfigurationException as error:
        raise ValueError(
            f"This machine cannot run accelerator={trainer['accelerator']} with devices={trainer['devices']}: {error} "
            "Choose another trainer, such as trainer=cpu."
        ) from error


def check_ignored(arms: list[Arm], command_line: list[str]) -> None:
    """Raise a ValueError if the command line sets values of training, and no arm is trained."""
    settings = ("training.", "training/", "in_loop.")
    ignored = [line for line in command_line if line.lstrip("+").startswith(settings)]
    if ignored and not any(arm.config["training"] for arm in arms):
        raise ValueError(f"{' '.join(ignored)} would change nothing: no arm is trained. Add training=finetune.")


def check_training(arm: Arm, source: ModelSource, method: Method, data: LongContextData) -> None:
    """Raise a ValueError if base or extension could not be trained: model, method, optimizer, schedule and rows."""
    attention, trainer = arm.config["attention"], arm.config["trainer"]
    micro_batches, together = trainer.get("accumulate_grad_batches", 1), context(trainer)
    at_once = rows_at_once(process_count(trainer) * trainer.get("num_nodes", 1), together)
    check_attention(attention, method, source.config(), DEVICES.get(trainer["accelerator"]))
    model = attach(skeleton(source.config()), method, attention=attention)
    for stage, recipe in (("base", arm.config["model"]["recipe"]), ("extension", arm.config["training"])):
        if recipe:
            _check_recipe(f"{stage} of {arm.name}", recipe, arm.pretrain_length, data)
            check_shares(recipe["rows"], at_once, micro_batches)
            if together > 1 and data.layout in SEGMENTS:
                raise ValueError(
                    f"documents={data.layout} cannot be trained with context={together}: ranks that share a row do not "
                    "know where its documents end. Take documents=packed or whole, or context=1."
                )
            check_split(method.pattern, round(recipe["length_factor"] * arm.pretrain_length), together)
            if recipe.get("lora"):
                add_adapters(model, **recipe["lora"], seed=arm.seed)
            instantiate(recipe["optimizer"])(model)
    max_context = method.max_context(arm.pretrain_length)
    if arm.train_length and max_context is not None and arm.train_length > max_context:
        raise ValueError(
            f"{arm.name} reaches {max_context} tokens (by its max_factor or its pattern), but is to be trained on "
            f"{arm.train_length}. Raise factor, or lower train_factor."
        )


def _check_recipe(name: str, recipe: dict[str, Any], pretrain_length: int, data: LongContextData) -> None:
    least = min(recipe["steps"], recipe["rows"], recipe["validation_steps"])
    if least < 1:
        raise ValueError(f"The {name} needs steps, rows and validation_steps of at least 1, got {least}.")
    schedule_of(recipe)
    data.check_rows(round(recipe["length_factor"] * pretrain_length))
