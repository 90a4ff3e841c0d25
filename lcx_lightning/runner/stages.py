"""The stages of an arm: base, extend, evaluate. Each is made once, and goes on where it stopped."""

import copy
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from transformers import PreTrainedModel

from lcx_lightning.attention.names import AUTO
from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.distributed import process_group
from lcx_lightning.distributed.fsdp import shard_layers
from lcx_lightning.distributed.state_dicts import gather_state_dict, load_trained_state_dict, trained_state_dict
from lcx_lightning.evaluation.base import run, starting_again
from lcx_lightning.methods.fingerprint import digest, fingerprint
from lcx_lightning.methods.method import Method
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.attached import method_of
from lcx_lightning.models.lora import add_adapters
from lcx_lightning.results import records
from lcx_lightning.results.curves import FILE as CURVES
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.hardware import peak_flops
from lcx_lightning.runner.in_loop_evaluation import FILE, InLoopEvaluation
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.runner.stage_cache import make_once, naming_what_is_kept, write_outcome
from lcx_lightning.training.callbacks.checkpoint import CheckpointOwner
from lcx_lightning.training.callbacks.evaluate import EvaluateInLoop
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.curves import Curves, Listener
from lcx_lightning.training.fit import Outcome, fit
from lcx_lightning.training.module import LongContextModule

Report = Callable[[str, int, int, str], None]  # stage, done, in all, a few words


def base(built: BuiltArm, report: Report) -> Path | None:
    """Return the folder of the pretrained base, trained now if it was not; None: the checkpoint is the base."""
    arm, recipe = built.arm, built.base_recipe
    built.check_model()
    if recipe is None:
        return None

    def make(work: Path) -> None:
        load = partial(load_model, built, None, built.pretrained)
        owner = CheckpointOwner(work, arm.base_key, f"the base, seed {arm.seed}")
        outcome = _train(built, recipe, owner, load, partial(report, "base"))
        weights = gather_state_dict(outcome.model.state_dict())
        if process_group.rank() == 0:
            model = load()
            model.load_state_dict(weights)
            detach(model)
            with naming_what_is_kept(work):
                model.save_pretrained(work / "out")
                _keep(work, CURVES)
                write_outcome(work / "out", arm.base_key, outcome)

    return make_once(arm.cache("base", arm.base_key), make)


def extend(built: BuiltArm, base_folder: Path | None, report: Report, listener: Listener | None = None) -> Path | None:
    """Return the folder of the fine-tuned model, trained now if it was not; None: zero-shot.

    Args:
        built: The arm.
        base_folder: Folder of its base. None: the checkpoint is the base.
        report: Function that is told how far the training is.
        listener: Function that is told the curves of the training, if the model is trained now.
    """
    arm, recipe, key = built.arm, built.recipe, built.arm.extend_key
    if recipe is None or key is None:
        return None

    def make(work: Path) -> None:
        owner = CheckpointOwner(work, f"{key} {arm.training_fingerprint}", f"{arm.name}, seed {arm.seed}")
        ranks = process_group.world_size()
        attention = arm.config["attention"]
        load = partial(load_model, built, base_folder, built.method, attention=attention, ranks=ranks, lora=recipe.lora)
        in_loop = InLoopEvaluation(built, work / FILE) if arm.evaluates_in_loop else None
        outcome = _train(built, recipe, owner, load, partial(report, "extend"), in_loop, listener)
        weights = gather_state_dict(
            trained_state_dict(outcome.model)
        )  # of adapters and the method alone, if the base is frozen
        if process_group.rank() == 0:
            with naming_what_is_kept(work):
                (work / "out").mkdir(exist_ok=True)
                _keep(work, FILE)
                _keep(work, CURVES)
                torch.save(weights, work / "out" / "model.pt")
                write_outcome(work / "out", key, outcome, arm.training_fingerprint)

    return make_once(arm.cache("extend", key), make, arm.training_fingerprint)


def _keep(work: Path, name: str) -> None:
    """Copy a file that training has written beside the trained model, if it has written any."""
    if (work / name).exists():
        shutil.copy(work / name, work / "out" / name)


def evaluate(built: BuiltArm, model: PreTrainedModel, report: Report) -> float:
    """Append the rows that are missing to the arm's records, and return the seconds that took.

    Of several processes each computes work units of its own, and rank zero appends the rows of all, in order. Where
    they share one model, all compute the same.

    Raises:
        ValueError: If a value is not finite.
        RuntimeError: If a row that was announced has not been computed.
    """
    arm = built.arm
    path = arm.folder / "records.jsonl"
    head = row_head(arm)
    known = {records.identity(row | head) for row in records.read_rows(path)}
    done = process_group.broadcast_from_rank_zero(known)
    if built.evaluation.examples_identity() != arm.examples:
        raise ValueError(f"The examples that {arm.name} is evaluated on have changed since this run was planned.")
    work_units = built.evaluation.work_units(built.data, arm.pretrain_length, arm.max_context)
    start = time.monotonic()
    together = built.trainer.evaluates_in_shards
    share = (0, 1) if together else (process_group.rank(), process_group.world_size())

    def known_row(row: dict[str, Any]) -> bool:
        return records.identity(head | row) in done

    again = starting_again(work_units, known_row)
    words = f"{again} cut short: from the beginning again" if again else ""
    for computed in run(work_units, model, known_row, lambda i, n: report("evaluate", i, n, words), share):
        of_ranks = [computed] if together else process_group.all_gather(computed)
        rows = [head | row for some in of_ranks for row in some]
        if process_group.rank() == 0:
            records.append(path, rows)
            known.update(map(records.identity, rows))
    missing = [row for unit in work_units for row in unit.rows if records.identity(head | row) not in known]
    if missing and process_group.rank() == 0:
        raise RuntimeError(
            f"{len(missing)} numbers were announced and not computed, the first is that of {missing[0]}."
        )
    return time.monotonic() - start


def row_head(arm: Arm) -> dict[str, Any]:
    """Return what every row of an arm begins with."""
    return {
        "run": arm.run,
        "experiment": arm.config["experiment"],
        "arm": arm.name,
        "base": arm.base_key,
        "method": "+".join(arm.methods),
        "factor": arm.factor,
        "seed": arm.seed,
    }


def load_model(
    built: BuiltArm,
    base_folder: Path | None,
    method: Callable[[], Method],
    attention: str = AUTO,
    ranks: int = 1,
    lora: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Return the base with a method attached, and with new adapters if there is `lora`.

    If `ranks` processes that share the model call this together, it may have no weights yet.
    """
    torch.manual_seed(built.arm.seed)
    model = built.model.source.load(base_folder, ranks)
    attach(model, method(), attention=attention, grow=built.arm.grows)
    return add_adapters(model, **lora, seed=built.arm.seed) if lora else model


def model_to_evaluate(built: BuiltArm, base_folder: Path | None, extended: Path | None) -> PreTrainedModel:
    """Return the model of an arm on its device: the base, with what was learned in `extended` if there is such a one.

    Where the processes of the arm evaluate in shards, all call this, and none holds the whole model.
    """
    together, device = built.trainer.evaluates_in_shards, built.trainer.device()
    ranks = process_group.world_size() if together else 1
    lora, attention = built.recipe and built.recipe.lora, built.arm.config["attention"]
    model = load_model(built, base_folder, built.method, attention=attention, ranks=ranks, lora=lora)
    if together:
        shard_layers(model, init_device_mesh(device.type, (ranks,)))
    if extended is not None:
        load_trained_state_dict(model, torch.load(extended / "model.pt", mmap=True, weights_only=True))
    return model.eval().to(device)  # pyright: ignore[reportArgumentType]


def trained_fingerprint(arm: Arm, model: PreTrainedModel) -> str:
    """Return the hash of what the attached method does now, learned parts included; computed on CPU on any machine."""
    method = copy.deepcopy(method_of(model)).cpu()
    return digest(fingerprint(method, arm.lengths, arm.train_length))


def _train(
    built: BuiltArm,
    recipe: Recipe,
    owner: CheckpointOwner,
    load: Callable[[], PreTrainedModel],
    report: Callable[[int, int, str], None],
    in_loop: InLoopEvaluation | None = None,
    listener: Listener | None = None,
) -> Outcome:
    arm = built.arm
    module = LongContextModule(
        load,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        seed=arm.seed,
        recompute=arm.config["recompute"],
    )
    batches = LongContextDataModule(
        built.data,
        seed=arm.seed,
        rows=recipe.rows,
        length=recipe.length,
        steps=recipe.steps,
        validation_steps=recipe.validation_steps,
        context=built.trainer.context,
    )
    given = {"max_steps": recipe.steps, "gradient_clip_val": recipe.clip, "default_root_dir": owner.folder}
    progress = Throughput(report, rows=recipe.rows, length=recipe.length, peak=peak_flops)
    return fit(
        module,
        batches,
        partial(built.trainer.trainer, **given),
        owner=owner,
        checkpoint_seconds=arm.config["checkpoint_seconds"],
        progress=progress,
        skip_nonfinite=arm.config["nonfinite"] == "skip",
        logger=Curves(owner.folder / CURVES, listener),
        callbacks=[EvaluateInLoop(arm.config["in_loop"]["every"], in_loop, progress)] if in_loop else [],
    )
