"""The stages of an arm: base, extend, evaluate. Each is made once, and goes on where it stopped."""

import copy
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from transformers import PreTrainedModel

from lcx_lightning.attention.forward_pass import AUTO
from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.distributed import process_group
from lcx_lightning.distributed.fsdp import shard_layers
from lcx_lightning.distributed.state_dicts import gather_state_dict, learned, load_learned
from lcx_lightning.evaluation.base import run, starting_again
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.methods.fingerprint import digest, fingerprint
from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.attached import method_of
from lcx_lightning.models.lora import add_adapters
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.results import records
from lcx_lightning.runner import trainer_config
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.hardware import peak_flops
from lcx_lightning.runner.in_loop_evaluation import FILE, InLoopEvaluation
from lcx_lightning.runner.stage_cache import make_once, naming_what_is_kept, write_outcome
from lcx_lightning.runner.trainer_config import schedule_of
from lcx_lightning.training.callbacks.checkpoint import Owner
from lcx_lightning.training.callbacks.evaluate import EvaluateInLoop
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.fit import Outcome, fit
from lcx_lightning.training.module import LongContextModule

Report = Callable[[str, int, int, str], None]  # stage, done, in all, a few words


def base(arm: Arm, data: LongContextData, report: Report) -> Path | None:
    """Return the folder of the pretrained base, trained now if it was not; None: the checkpoint is the base."""
    if not arm.config["model"]["recipe"]:
        return None

    def make(work: Path) -> None:
        load = partial(load_model, arm, None, read_method("pretrained"))
        recipe, owner = arm.config["model"]["recipe"], Owner(work, arm.base_key, f"the base, seed {arm.seed}")
        outcome = _train(arm, recipe, owner, load, data, partial(report, "base"), False)
        weights = gather_state_dict(outcome.model.state_dict())
        if process_group.rank() == 0:
            model = load()
            model.load_state_dict(weights)
            detach(model)
            with naming_what_is_kept(work):
                model.save_pretrained(work / "out")
                write_outcome(work / "out", arm.base_key, outcome)

    return make_once(arm.cache("base", arm.base_key), make)


def extend(arm: Arm, base_folder: Path | None, data: LongContextData, report: Report, logger: Any) -> Path | None:
    """Return the folder of the fine-tuned model, trained now if it was not; None: zero-shot."""
    if arm.extend_key is None:
        return None

    key = arm.extend_key

    def make(work: Path) -> None:
        method, attention = OmegaConf.create(arm.config["method"]), arm.config["attention"]
        recipe, owner = arm.config["training"], Owner(work, key, f"{arm.name}, seed {arm.seed}")
        more = {"attention": attention, "together": process_group.world_size(), "lora": recipe.get("lora")}
        load = partial(load_model, arm, base_folder, method, **more)
        evaluates_in_loop = InLoopEvaluation(arm, data, work / FILE) if arm.evaluates_in_loop else None
        outcome = _train(arm, recipe, owner, load, data, partial(report, "extend"), logger, evaluates_in_loop)
        weights = gather_state_dict(learned(outcome.model))  # of adapters and the method alone, if the base is frozen
        if process_group.rank() == 0:
            with naming_what_is_kept(work):
                (work / "out").mkdir(exist_ok=True)
                if (work / FILE).exists():
                    shutil.copy(work / FILE, work / "out" / FILE)
                torch.save(weights, work / "out" / "model.pt")
                write_outcome(work / "out", key, outcome)

    return make_once(arm.cache("extend", key), make)


def evaluate(arm: Arm, model: PreTrainedModel, data: LongContextData, report: Report) -> float:
    """Append the rows that are missing to the arm's records, and return the seconds that took.

    Of several processes each computes work units of its own, and the first appends the rows of all, in order. Where
    they share one model, all compute the same.
    """
    evaluation = EvaluationSuite(instantiate(arm.config["evaluation"]))
    path = arm.folder / "records.jsonl"
    head = row_head(arm)
    known = {records.identity(row | head) for row in records.read_records(path)}
    done = process_group.broadcast_from_rank_zero(known)
    work_units = evaluation.work_units(data, arm.pretrain_length, arm.max_context)
    start = time.monotonic()
    together = trainer_config.evaluates_in_shards(arm.config["trainer"])
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
    return time.monotonic() - start


def row_head(arm: Arm) -> dict[str, Any]:
    """Return what every row of an arm begins with."""
    return {
        "run": arm.run,
        "experiment": arm.config["experiment"],
        "arm": arm.name,
        "base": arm.base_key,
        "method": "+".join(arm.methods),
        "factor": arm.config["factor"],
        "seed": arm.seed,
    }


def load_model(
    arm: Arm,
    base_folder: Path | None,
    method: Any,
    attention: str = AUTO,
    together: int = 1,
    lora: dict[str, Any] | None = None,
) -> PreTrainedModel:
    """Return the base with a method attached, and with new adapters if there is `lora`.

    If it is to be shared by `together` processes that call this together, it may have no weights yet.
    """
    torch.manual_seed(arm.seed)
    source = instantiate(arm.config["model"]["source"])
    model = source.load(base_folder, together)
    attach(model, build_method(method, rope_spec(model.config)), attention=attention)
    return add_adapters(model, **lora, seed=arm.seed) if lora else model


def model_to_evaluate(arm: Arm, base_folder: Path | None, extended: Path | None) -> PreTrainedModel:
    """Return the model of an arm on its device: the base, with what was learned in `extended` if there is such a one.

    Where the processes of the arm evaluate in shards, all call this, and none holds the whole model.
    """
    method, attention = OmegaConf.create(arm.config["method"]), arm.config["attention"]
    lora, together = (
        (arm.config["training"] or {}).get("lora"),
        trainer_config.evaluates_in_shards(arm.config["trainer"]),
    )
    many, where = process_group.world_size() if together else 1, device(arm)
    model = load_model(arm, base_folder, method, attention=attention, together=many, lora=lora)
    if together:
        shard_layers(model, init_device_mesh(where.type, (many,)))
    if extended is not None:
        load_learned(model, torch.load(extended / "model.pt", mmap=True, weights_only=True))
    return model.eval().to(where)  # pyright: ignore[reportArgumentType]


def device(arm: Arm) -> torch.device:
    """Return the device that the arm's trainer trains on, where it is evaluated too."""
    return trainer_config.bare_trainer(arm.config["trainer"]).strategy.root_device


def trained_fingerprint(arm: Arm, model: PreTrainedModel) -> str:
    """Return the hash of what the attached method does now, learned parts included; computed on CPU on any machine."""
    method = copy.deepcopy(method_of(model)).cpu()
    return digest(fingerprint(method, arm.lengths, arm.train_length))


def _train(
    arm: Arm,
    recipe: dict[str, Any],
    owner: Owner,
    load: Callable[[], PreTrainedModel],
    data: LongContextData,
    report: Callable[[int, int, str], None],
    logger: Any,
    evaluates_in_loop: InLoopEvaluation | None = None,
) -> Outcome:
    length, steps = round(recipe["length_factor"] * arm.pretrain_length), recipe["steps"]
    module = LongContextModule(
        load,
        optimizer=instantiate(recipe["optimizer"]),
        schedule=schedule_of(recipe),
        seed=arm.seed,
        recompute=arm.config["recompute"],
    )
    batches = LongContextDataModule(
        data,
        seed=arm.seed,
        rows=recipe["rows"],
        length=length,
        steps=steps,
        validation_steps=recipe["validation_steps"],
        context=trainer_config.context(arm.config["trainer"]),
    )
    trainer = partial(
        instantiate(arm.config["trainer"]),
        max_steps=steps,
        gradient_clip_val=recipe["clip"],
        default_root_dir=owner.folder,
    )
    progress = Throughput(report, rows=recipe["rows"], length=length, peak=peak_flops)
    return fit(
        module,
        batches,
        trainer,
        owner=owner,
        checkpoint_seconds=arm.config["checkpoint_seconds"],
        progress=progress,
        skip_nonfinite=arm.config["nonfinite"] == "skip",
        logger=logger,
        callbacks=[EvaluateInLoop(arm.config["in_loop"]["every"], evaluates_in_loop, progress)]
        if evaluates_in_loop
        else [],
    )
