"""`lcx.load`: the model of a finished run, with its method attached and its weights loaded."""

import os
import shlex
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lcx_lightning.distributed.state_dicts import load_trained_state_dict
from lcx_lightning.methods.fingerprint import digest, fingerprint
from lcx_lightning.models.clex_checkpoint import grows
from lcx_lightning.results.listing import FoundExperiment, FoundRun, find_runs
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.contents import contents_in, own_packages
from lcx_lightning.runner.stage_cache import verify_manifest
from lcx_lightning.runner.stages import load_model, trained_fingerprint
from lcx_lightning.schema.targets import check_targets

OF_ARM = ("config", "corpus", "model", "examples", "contents", "pretrain_length", "train_length", "lengths")


def load(
    run: str | os.PathLike[str], *, seed: int | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> PreTrainedModel:
    """Return the model of a finished run, with its method attached and its weights loaded, ready for `generate`.

    It is on the CPU, in evaluation mode, and computes what the records of the run were computed from.

    Args:
        run: Folder of a run, or folder of an experiment with the name of an arm behind it: `results/quickstart/clex`.
        seed: Seed of the run, if the arm has several.
        cache_dir: Cache with the trained models. None for the one in which they were made.

    Raises:
        ValueError: If there is no such run, or several; if it has not finished; if its trained model is no longer in
            the cache; or if its method does something else now than when it was run.
    """
    found = find_runs(Path(run).expanduser(), Path("results"))
    one = _one_of(found, seed)
    checkpoint = one.info.get("checkpoint")
    if not isinstance(checkpoint, dict) or any(name not in one.info for name in (*OF_ARM, "method", "fingerprint")):
        raise ValueError(f"{one.folder / 'run.json'} does not name its checkpoint: run the arm again. {_again(found)}")
    cache = Path(cache_dir or checkpoint["cache_dir"]).expanduser()
    built = _built(one, checkpoint, cache)
    arm = built.arm
    base, extended = (_stage(checkpoint[name], cache, found, one) for name in ("base", "extend"))
    lora = arm.config["training"] and arm.config["training"].get("lora")
    model = load_model(built, base, built.method, attention=arm.config["attention"], lora=lora)
    if extended is not None:
        load_trained_state_dict(model, torch.load(extended / "model.pt", mmap=True, weights_only=True))
    if arm.contents.get("method") != contents_in(arm.config["method"]):  # own code, of a method that may have learned
        _check_fingerprint(one, trained_fingerprint(arm, model), "fingerprint_after_training")
    return model.eval()


def _one_of(found: FoundExperiment, seed: int | None) -> FoundRun:
    """Return the one finished run of those that were found.

    Raises:
        ValueError: If there is none, or more than one.
    """
    runs = [run for run in found.runs if seed in (None, run.seed)]
    if not runs:
        seeds = ", ".join(sorted({str(run.seed) for run in found.runs}))
        raise ValueError(f"There is no run of seed {seed} in {found.folder}. There are the seeds {seeds}.")
    if len({run.arm for run in runs}) > 1:
        names = ", ".join(dict.fromkeys(run.arm for run in runs))
        raise ValueError(f"{found.folder} holds several arms: name one of them behind it. There are: {names}.")
    if len(runs) > 1:
        folders = ", ".join(str(run.folder) for run in runs)
        raise ValueError(f"There are several runs of {runs[0].arm}: give its seed, or the folder of one: {folders}.")
    (run,) = runs
    if run.state != "finished":
        said = f"{run.folder} cannot be loaded, its state is {run.state}" + (f": {run.reason}." if run.reason else ".")
        same = run.reason == "equals pretrained"
        raise ValueError(f"{said} Load pretrained in its place." if same else f"{said} {_again(found)}")
    return run


def _built(run: FoundRun, checkpoint: dict[str, Any], cache: Path) -> BuiltArm:
    """Return the arm of a run, with what its configuration describes.

    Raises:
        ValueError: If it names other code than this program's and the user's own, or is not what it was.
    """
    info, config = run.info, dict(run.info["config"])
    config["cache_dir"] = str(cache)
    if checkpoint["model"] and Path(checkpoint["model"]).is_dir():
        source = config["model"]["source"] | {"name": checkpoint["model"]}
        config["model"] = config["model"] | {"source": source}
    named = {part: config[part] for part in ("method", "model")}
    check_targets(named, sorted(own_packages(named)))
    kept = {name: info[name] for name in OF_ARM if name != "config"}
    arm = Arm(run.arm, info["method"].split("+"), info.get("order", 0), config, info.get("factor"), **kept)
    built = BuiltArm(arm)
    built.check_model()
    method = built.method()
    arm.grows = grows(config["grow"], method, built.model.config)
    _check_fingerprint(run, digest(fingerprint(method, arm.lengths, arm.train_length)), "fingerprint")
    return built


def _check_fingerprint(run: FoundRun, now: str, name: str) -> None:
    """Raise a ValueError if a method does something else than when a run was computed."""
    if now != run.info[name]:
        raise ValueError(
            f"The method {run.info['method']} does something else now than when {run.folder} was run ({name} "
            f"{run.info[name]}, now {now}): its class or this program has changed. Put the old one back, or run the "
            "arm again."
        )


def _stage(name: str | None, cache: Path, found: FoundExperiment, run: FoundRun) -> Path | None:
    """Return the folder of a stage, None if there is no such stage."""
    if name is None:
        return None
    folder = cache / name
    if not folder.is_dir():
        raise ValueError(
            f"The trained model of {run.folder} is no longer in the cache: there is no {folder}. Name another cache "
            f"with cache_dir, or make it again: lcx clean {shlex.quote(str(run.folder))} && {found.command}"
        )
    verify_manifest(folder, folder.name)
    return folder


def _again(found: FoundExperiment) -> str:
    return f"The command that goes on: {found.command}" if found.command else "Run its command again."
