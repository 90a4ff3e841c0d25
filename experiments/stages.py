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
from filelock import AcquireReturnProxy, FileLock, Timeout
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from transformers import PreTrainedModel

from experiments import ranks
from experiments.arms import Arm
from experiments.hardware import peak_flops
from experiments.in_loop import FILE, Looks
from experiments.recipe import schedule_of
from experiments.seal import check_seal, keeping, seal
from lcx_lightning.adapters import add_adapters
from lcx_lightning.attachment import attach, detach
from lcx_lightning.attention.rope import AUTO
from lcx_lightning.configs import build_method, read_method
from lcx_lightning.data.module import LongContextDataModule
from lcx_lightning.data.source import LongContextData
from lcx_lightning.evaluation.base import run, starting_again
from lcx_lightning.evaluation.several import Several
from lcx_lightning.fingerprint import digest, fingerprint
from lcx_lightning.method import Method
from lcx_lightning.models import rope_spec
from lcx_lightning.results import records
from lcx_lightning.training import preemption
from lcx_lightning.training.checkpoint import Owner
from lcx_lightning.training.fit import Outcome, fit
from lcx_lightning.training.in_loop import InLoop
from lcx_lightning.training.module import LongContextModule
from lcx_lightning.training.parts import learned, load_learned, whole
from lcx_lightning.training.progress import Progress
from lcx_lightning.training.sharding import shard_layers

Report = Callable[[str, int, int, str], None]  # stage, done, in all, a few words


def base(arm: Arm, data: LongContextData, report: Report) -> Path | None:
    """Return the folder of the pretrained base, trained now if it was not; None: the checkpoint is the base."""
    if not arm.config["model"]["recipe"]:
        return None

    def make(work: Path) -> None:
        load = partial(load_model, arm, None, read_method("pretrained"))
        recipe, owner = arm.config["model"]["recipe"], Owner(work, arm.base_key, f"the base, seed {arm.seed}")
        outcome = _train(arm, recipe, owner, load, data, partial(report, "base"), False)
        weights = whole(outcome.model.state_dict())
        if ranks.rank() == 0:
            model = load()
            model.load_state_dict(weights)
            detach(model)
            with keeping(work):
                model.save_pretrained(work / "out")
                _describe(work / "out", arm.base_key, outcome)

    return _once(arm.cache("base", arm.base_key), make)


def extend(arm: Arm, base_folder: Path | None, data: LongContextData, report: Report, logger: Any) -> Path | None:
    """Return the folder of the fine-tuned model, trained now if it was not; None: zero-shot."""
    if arm.extend_key is None:
        return None

    key = arm.extend_key

    def make(work: Path) -> None:
        method, attention = OmegaConf.create(arm.config["method"]), arm.config["attention"]
        recipe, owner = arm.config["training"], Owner(work, key, f"{arm.name}, seed {arm.seed}")
        more = {"attention": attention, "together": ranks.ranks(), "lora": recipe.get("lora")}
        load = partial(load_model, arm, base_folder, method, **more)
        looks = Looks(arm, data, work / FILE) if arm.looks else None
        outcome = _train(arm, recipe, owner, load, data, partial(report, "extend"), logger, looks)
        weights = whole(learned(outcome.model))  # of adapters and the method alone, if the base is frozen
        if ranks.rank() == 0:
            with keeping(work):
                (work / "out").mkdir(exist_ok=True)
                if (work / FILE).exists():
                    shutil.copy(work / FILE, work / "out" / FILE)
                torch.save(weights, work / "out" / "model.pt")
                _describe(work / "out", key, outcome)

    return _once(arm.cache("extend", key), make)


def evaluate(arm: Arm, model: PreTrainedModel, data: LongContextData, report: Report) -> float:
    """Append the rows that are missing to the arm's records, and return the seconds that took.

    Of several processes each computes pieces of its own, and the first appends those of all, in order. Where they share
    one model, all compute the same.
    """
    evaluation = Several(instantiate(arm.config["evaluation"]))
    path = arm.folder / "records.jsonl"
    known = records.read(path) if path.exists() else []
    done = ranks.told({_identity(row) for row in known})
    head = row_head(arm)
    pieces = evaluation.pieces(data, arm.pretrain_length, arm.reach)
    start = time.monotonic()
    together = ranks.evaluates_in_shards(arm.config["trainer"])
    share = (0, 1) if together else (ranks.rank(), ranks.ranks())

    def known_row(row: dict[str, Any]) -> bool:
        return _identity(head | row) in done

    again = starting_again(pieces, known_row)
    words = f"{again} cut short: from the beginning again" if again else ""
    for own in run(pieces, model, known_row, lambda i, n: report("evaluate", i, n, words), share):
        rows = [head | row for piece in ([own] if together else ranks.gathered(own)) for row in piece]
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
    lora, together = (arm.config["training"] or {}).get("lora"), ranks.evaluates_in_shards(arm.config["trainer"])
    many, where = ranks.ranks() if together else 1, device(arm)
    model = load_model(arm, base_folder, method, attention=attention, together=many, lora=lora)
    if together:
        shard_layers(model, init_device_mesh(where.type, (many,)))
    if extended is not None:
        load_learned(model, torch.load(extended / "model.pt", mmap=True, weights_only=True))
    return model.eval().to(where)  # pyright: ignore[reportArgumentType]


def device(arm: Arm) -> torch.device:
    """Return the device that the arm's trainer trains on, where it is evaluated too."""
    return ranks.bare_trainer(arm.config["trainer"]).strategy.root_device


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


def trained_parameters(folder: Path | None) -> int | None:
    """Return how many parameters a cached stage has trained: 0 if there was none; None if nobody counted."""
    return json.loads((folder / "stage.json").read_text()).get("trained_parameters") if folder else 0


def _train(
    arm: Arm,
    recipe: dict[str, Any],
    owner: Owner,
    load: Callable[[], PreTrainedModel],
    data: LongContextData,
    report: Callable[[int, int, str], None],
    logger: Any,
    looks: Looks | None = None,
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
        context=ranks.context(arm.config["trainer"]),
    )
    trainer = partial(
        instantiate(arm.config["trainer"]),
        max_steps=steps,
        gradient_clip_val=recipe["clip"],
        default_root_dir=owner.folder,
    )
    progress = Progress(report, rows=recipe["rows"], length=length, peak=peak_flops)
    return fit(
        module,
        batches,
        trainer,
        owner=owner,
        checkpoint_seconds=arm.config["checkpoint_seconds"],
        progress=progress,
        skip_nonfinite=arm.config["nonfinite"] == "skip",
        logger=logger,
        callbacks=[InLoop(arm.config["in_loop"]["every"], looks, progress)] if looks else [],
    )


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, made whole or not at all; of several runs one makes it and the others wait.

    All processes of an arm take part in making it: the first decides whether, and puts it in its place. One that was
    made before is checked.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    first = ranks.rank() == 0
    with _locked(folder.with_suffix(".lock")) if first else nullcontext():
        there = folder.exists()
        if there and first:
            check_seal(folder, folder.name)
        if not ranks.told(there):
            work = folder.with_suffix(".work")
            work.mkdir(exist_ok=True)
            make(work)
            if first:
                os.replace(work / "out", folder)
                shutil.rmtree(work)
        ranks.told(None)  # it is there when this returns
    return folder


def _locked(path: Path) -> AcquireReturnProxy:
    """Return a lock that is held; `PreemptedError` if the machine is asked for back while another run holds it."""
    while True:
        try:
            return FileLock(path).acquire(timeout=1)
        except Timeout as error:
            if preemption.asked():
                raise preemption.PreemptedError("preempted while another run makes this stage") from error


def _describe(folder: Path, key: str, outcome: Outcome) -> None:
    told = {
        "seconds": outcome.seconds,
        "validation_loss": outcome.validation_loss,
        "throughput": outcome.throughput,
        "trained_parameters": sum(p.numel() for p in outcome.model.parameters() if p.requires_grad),
    }
    seal(folder, key, **told)


def _identity(row: dict[str, Any]) -> tuple:
    return tuple(row.get(name) for name in records.IDENTITY)
