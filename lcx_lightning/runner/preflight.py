"""What must hold before anything is trained: settings that can run, and training that can begin and end."""

import os
from collections import Counter
from typing import Any

from lcx_lightning.data.dataset import SEGMENTS
from lcx_lightning.data.step_loader import check_shares
from lcx_lightning.results.records import identity
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.in_loop_evaluation import FILE, InLoopEvaluation
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.runner.run_json import is_finished
from lcx_lightning.runner.trainer_config import TrainerSettings


def prepare(built: BuiltArm, *, here: bool) -> Arm:
    """Return an arm that knows its documents, and can be run to its end unless it is finished.

    Args:
        built: The arm.
        here: Whether it is to run on this machine.

    Raises:
        ValueError: If its data do not serve it, or it could not be run.
    """
    arm = identified(built)
    if not is_finished(arm):
        check_arm(built, here=here)
    return arm


def identified(built: BuiltArm) -> Arm:
    """Return an arm that knows its documents, and so the id of its run; whether it can be run is not looked at."""
    built.arm.corpus, built.arm.model = built.data.corpus.identity(), built.model_identity()
    built.arm.examples = built.evaluation.examples_identity()
    return built.arm


def check_arm(built: BuiltArm, *, here: bool) -> None:
    """Raise a ValueError if an arm could not be run to its end.

    Args:
        built: The arm.
        here: Whether it is to run on this machine, which must have what its trainer needs.
    """
    from lcx_lightning.models.sources import check_tokens  # seconds, as the rest: not for arms that are finished

    arm = built.arm
    if built.base_recipe is None and not built.model.source.has_weights:
        raise ValueError("This model has no weights of its own, and model.recipe, its pretraining, is empty: give one.")
    check_tokens(built.data.tokens, built.model.config)
    _check_identities(built)
    if arm.evaluates_in_loop:
        InLoopEvaluation(built, arm.folder / FILE)
    _check_training(built)
    if here:
        check_trainer(built.trainer)


def check_trainer(trainer: TrainerSettings) -> None:
    """Raise a ValueError if this machine has not what the trainer needs: on a CPU, a core for each process."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    cores = os.cpu_count() or 1
    if trainer.accelerator == "cpu" and trainer.devices > cores:  # they would only wait for each other
        raise ValueError(
            f"trainer.devices={trainer.devices} processes need as many cores, and this machine has {cores}: take "
            f"trainer.devices={cores} or fewer. What a run computes does not depend on it."
        )
    try:
        trainer.idle_trainer()
    except MisconfigurationException as error:
        raise ValueError(
            f"This machine cannot run accelerator={trainer.accelerator} with devices={trainer.devices}: {error} "
            "Choose another trainer, such as trainer=cpu."
        ) from error


def _check_identities(built: BuiltArm) -> None:
    """Raise a ValueError if records could not tell two numbers of an arm apart."""
    arm = built.arm
    work_units = built.evaluation.work_units(built.data, arm.pretrain_length, arm.max_context)
    counts = Counter(identity(row) for unit in work_units for row in unit.rows)
    twins = [dict(one) for one, count in counts.items() if count > 1]
    if twins:
        raise ValueError(
            f"{arm.name} would have two numbers for {twins[0]}: evaluate each protocol once, with multiples that are "
            "not the same length."
        )


def _check_training(built: BuiltArm) -> None:
    """Raise a ValueError if base or extension could not be trained: model, method, optimizer, schedule and rows."""
    from lcx_lightning.models.attach import attach, check_attention
    from lcx_lightning.models.sources import skeleton

    arm, method, config = built.arm, built.method(), built.model.config
    check_attention(arm.config["attention"], method, config, built.trainer.device_type)
    model = attach(skeleton(config), method, attention=arm.config["attention"])
    for recipe in (built.base_recipe, built.recipe):
        if recipe:
            _check_recipe(built, recipe, model)
    max_context = method.max_context(arm.pretrain_length)
    if arm.train_length and max_context is not None and arm.train_length > max_context:
        raise ValueError(
            f"{arm.name} reaches {max_context} tokens (by its max_factor or its pattern), but is to be trained on "
            f"{arm.train_length}. Raise factor, or lower train_factor."
        )


def _check_recipe(built: BuiltArm, recipe: Recipe, model: Any) -> None:
    from lcx_lightning.models.attached import method_of
    from lcx_lightning.models.context_parallel import check_split
    from lcx_lightning.models.lora import add_adapters

    trainer = built.trainer
    built.data.check_rows(recipe.length)
    check_shares(recipe.rows, trainer.row_groups(), trainer.micro_batches)
    if trainer.context > 1 and built.data.layout in SEGMENTS:
        raise ValueError(
            f"documents={built.data.layout} cannot be trained with context={trainer.context}: ranks that share a row "
            "do not know where its documents end. Take documents=packed or whole, or context=1."
        )
    check_split(method_of(model).pattern, recipe.length, trainer.context)
    if recipe.lora:
        add_adapters(model, **recipe.lora, seed=built.arm.seed)
    recipe.optimizer(model)
