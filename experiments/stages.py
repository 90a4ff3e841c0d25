"""The stages of an arm: base, extend, evaluate. Each is made once, and goes on where it stopped."""

import copy
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import OmegaConf
from transformers import PreTrainedModel

from experiments import ranks
from experiments.arms import Arm
from experiments.hardware import peak_flops
from experiments.in_loop import FILE, Looks
from lcx_lightning.attachment import attach, detach
from lcx_lightning.attention.rope import AUTO
from lcx_lightning.configs import build_method, read_method
from lcx_lightning.data.module import LongContextDataModule
from lcx_lightning.data.source import LongContextData
from lcx_lightning.evaluation.base import run
from lcx_lightning.evaluation.several import Several
from lcx_lightning.fingerprint import digest, fingerprint
from lcx_lightning.method import Method
from lcx_lightning.models import rope_spec
from lcx_lightning.results import records
from lcx_lightning.training.fit import Outcome, fit
from lcx_lightning.training.in_loop import InLoop
from lcx_lightning.training.module import LongContextModule
from lcx_lightning.training.parts import whole
from lcx_lightning.training.progress import Progress
from lcx_lightning.training.schedule import warmup_stable_decay

Report = Callable[[str, int, int, str], None]  # stage, done, in all, a few words


def base(arm: Arm, data: LongContextData, report: Report) -> Path | None:
    """Return the folder of the pretrained base, trained now if it was not; None: the checkpoint is the base."""
    if not arm.config["model"]["recipe"]:
        return None

    def make(work: Path) -> None:
        load = partial(load_model, arm, None, read_method("pretrained"))
        outcome = _train(arm, arm.config["model"]["recipe"], load, data, work, partial(report, "base"), False)
        weights = whole(outcome.model.state_dict())
        if ranks.rank() == 0:
            model = load()
            model.load_state_dict(weights)
            detach(model).save_pretrained(work / "out")
            _describe(work / "out", outcome)

    return _once(arm.cache("base", arm.base_key), make)


def extend(arm: Arm, base_folder: Path | None, data: LongContextData, report: Report, logger: Any) -> Path | None:
    """Return the folder of the fine-tuned model, trained now if it was not; None: zero-shot."""
    if arm.extend_key is None:
        return None

    def make(work: Path) -> None:
        method, attention = OmegaConf.create(arm.config["method"]), arm.config["attention"]
        load = partial(load_model, arm, base_folder, method, attention=attention, together=ranks.ranks())
        looks = Looks(arm, data, work / FILE) if arm.looks else None
        outcome = _train(arm, arm.config["training"], load, data, work, partial(report, "extend"), logger, looks)
        weights = whole(outcome.model.state_dict())
        if ranks.rank() == 0:
            (work / "out").mkdir(exist_ok=True)
            if (work / FILE).exists():
                shutil.copy(work / FILE, work / "out" / FILE)
            torch.save(weights, work / "out" / "model.pt")
            _describe(work / "out", outcome)

    return _once(arm.cache("extend", arm.extend_key), make)


def evaluate(arm: Arm, model: PreTrainedModel, data: LongContextData, report: Report) -> float:
    """Append the rows that are missing to the arm's records, and return the seconds that took.

    Of several processes each computes pieces of its own, and the first appends those of all, in order.
    """
    evaluation = Several(instantiate(arm.config["evaluation"]))
    path = arm.folder / "records.jsonl"
    known = records.read(path) if path.exists() else []
    done = ranks.told({_identity(row) for row in known})
    head = row_head(arm)
    pieces = evaluation.pieces(data, arm.pretrain_length, arm.lengths[-1])
    start = time.monotonic()
    share = ranks.rank(), ranks.ranks()

    def known_row(row: dict[str, Any]) -> bool:
        return _identity(head | row) in done

    for own in run(pieces, model, known_row, lambda i, n: report("evaluate", i, n, ""), share):
        rows = [head | row for piece in ranks.gathered(own) for row in piece]
        if ranks.rank() == 0:
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
    extended: Path | None = None,
    attention: str = AUTO,
    together: int = 1,
) -> PreTrainedModel:
    """Return the model with a method attached: the base, or the base with the weights of `extended`.

    If it is to be shared by `together` processes that call this together, it may have no weights yet.
    """
    torch.manual_seed(arm.seed)
    source = instantiate(arm.config["model"]["source"])
    model = source.load(base_folder, together)
    attach(model, build_method(method, rope_spec(model.config)), attention=attention)
    if extended is not None:
        model.load_state_dict(torch.load(extended / "model.pt", weights_only=True))
    return model


def device(arm: Arm) -> torch.device:
    """Return the device that the arm's trainer trains on, where it is evaluated too."""
    trainer = instantiate(arm.config["trainer"])(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    return trainer.strategy.root_device


def trained_fingerprint(arm: Arm, model: PreTrainedModel) -> str:
    """Return the hash of what the attached method does now, learned parts included; computed on CPU on any machine."""
    method: Method = copy.deepcopy(model.base_model.method).cpu()  # pyright: ignore[reportAssignmentType, reportCallIssue]
    return digest(fingerprint(method, arm.lengths, arm.train_length))


def seconds(folder: Path | None) -> float:
    """Return the training seconds of a cached stage, 0 if there was none."""
    return json.loads((folder / "stage.json").read_text())["seconds"] if folder else 0.0


def throughput(folder: Path | None) -> dict[str, Any] | None:
    """Return what the training of a cached stage took; None if there was none, or nobody measured."""
    return json.loads((folder / "stage.json").read_text()).get("throughput") if folder else None


def _train(
    arm: Arm,
    recipe: dict[str, Any],
    load: Callable[[], PreTrainedModel],
    data: LongContextData,
    work: Path,
    report: Callable[[int, int, str], None],
    logger: Any,
    looks: Looks | None = None,
) -> Outcome:
    length, steps = round(recipe["length_factor"] * arm.pretrain_length), recipe["steps"]
    module = LongContextModule(
        load,
        optimizer=instantiate(recipe["optimizer"]),
        schedule=warmup_stable_decay(steps=steps, **recipe["schedule"]),
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
        context=ranks.context(arm.config["trainer"]),
    )
    trainer = partial(
        instantiate(arm.config["trainer"]),
        max_steps=steps,
        gradient_clip_val=recipe["clip"],
        default_root_dir=work,
    )
    progress = Progress(report, rows=recipe["rows"], length=length, peak=peak_flops)
    return fit(
        module,
        batches,
        trainer,
        folder=work,
        checkpoint_seconds=arm.config["checkpoint_seconds"],
        progress=progress,
        skip_nonfinite=arm.config["nonfinite"] == "skip",
        logger=logger,
        callbacks=[InLoop(arm.config["in_loop"]["every"], looks, progress)] if looks else [],
    )


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, made whole or not at all; of several runs one makes it and the others wait.

    All processes of an arm take part in making it: the first decides whether, and puts it in its place.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    first = ranks.rank() == 0
    with FileLock(folder.with_suffix(".lock")) if first else nullcontext():
        if not ranks.told(folder.exists()):
            work = folder.with_suffix(".work")
            work.mkdir(exist_ok=True)
            make(work)
            if first:
                os.replace(work / "out", folder)
                shutil.rmtree(work)
        ranks.told(None)  # it is there when this returns
    return folder


def _describe(folder: Path, outcome: Outcome) -> None:
    told = {"seconds": outcome.seconds, "validation_loss": outcome.validation_loss, "throughput": outcome.throughput}
    records.write_json(folder / "stage.json", told)


def _identity(row: dict[str, Any]) -> tuple:
    return tuple(row.get(name) for name in records.IDENTITY)
