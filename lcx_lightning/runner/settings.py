"""The top-level values of a run: made what they mean, and refused where they mean nothing."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lcx_lightning.methods.checks import flag, number, whole

DRY_RUNS = ("fingerprint", "forecast", "data")
TEXTS = ("experiment", "question", "results_dir", "cache_dir")  # `question=5` is a text too
LISTS = ("look_for", "arms")
FOLDERS = ("results_dir", "cache_dir")
COUNTS = {"jobs": 1, "seeds": 1, "seed": 0, "pretrain_length": 1, "in_loop.every": 0, "in_loop.batches": 1}  # the least
ABOVE_ZERO = ("checkpoint_seconds", "factor", "train_factor")
KNOBS = ("factor", "train_factor")  # which a grid may turn also for arms that do not depend on them
OF_EXPERIMENT = (*TEXTS, *LISTS, "seeds", "seed", "dry_run", "jobs", "launch", "report")
GROUPS = ("exp", "model", "data", "method", "training", "evaluation", "trainer", "launch", "logger", "hardware")
CLOSED = ("", "model", "data", "training", "in_loop", "hardware", "model.recipe")  # parts without further values
NAME = re.compile(r"[^\W_][^/\\\x00-\x1f]*")  # of a folder
OF_TRAINING = ("training.", "training/", "in_loop.")
OF_ANY_TRAINING = ("recompute", "nonfinite", "checkpoint_seconds", "data.mixture", "data.documents")  # of a base too


def settle(config: DictConfig) -> None:
    """Make texts of values that are texts, whatever was typed, and whole paths of folders, in place.

    Raises:
        ValueError: If a list is none, or there is no home folder for a path with `~`.
    """
    for name in TEXTS:
        if not OmegaConf.is_missing(config, name) and config[name] is not None:
            OmegaConf.update(config, name, str(config[name]))
    for name in LISTS:
        if not isinstance(config[name], ListConfig):
            raise ValueError(f"{name} must be a list, such as {name}=[first,second], got {config[name]!r}.")
        OmegaConf.update(config, name, [str(one) for one in config[name]])
    for name in FOLDERS:
        if config[name] is None:
            raise ValueError(f"{name} must be a folder, got null.")
        try:
            OmegaConf.update(config, name, str(Path(config[name]).expanduser()))
        except RuntimeError as error:
            raise ValueError(f"There is no home folder for {name}={config[name]}: set {name}, or HOME.") from error


def check_settings(config: DictConfig) -> None:
    """Raise a ValueError if a value of the experiment is missing, or is none of its choices."""
    missing = OmegaConf.missing_keys(OmegaConf.merge(config, {"pretrain_length": 1}))  # what the model tells
    if missing:
        raise ValueError(f"A value is needed: add {' '.join(f'{name}=VALUE' for name in sorted(missing))}.")
    if not NAME.fullmatch(config.experiment or "") or config.experiment == "aside":
        raise ValueError(
            "experiment is the name of a folder in results_dir: it begins with a letter or a digit and has no slash, "
            f"got {config.experiment!r}."
        )
    for name, least in COUNTS.items():
        if not OmegaConf.is_missing(config, name):
            whole(name, OmegaConf.select(config, name), least=least)
    for name in ABOVE_ZERO:
        number(name, config[name], above=0)
    flag("recompute", config.recompute)
    if config.grow is not None:
        flag("grow", config.grow)
    if config.dry_run not in (None, *DRY_RUNS):
        raise ValueError(f"dry_run must be null, {', '.join(DRY_RUNS[:-1])} or {DRY_RUNS[-1]}, got {config.dry_run!r}.")
    if config.nonfinite not in ("stop", "skip"):
        raise ValueError(f"nonfinite must be stop or skip, got {config.nonfinite!r}.")


def check_of_arm(line: Iterable[str]) -> None:
    """Raise a ValueError if a line of `arms` sets what all arms share, or adds a value that nothing reads."""
    line = list(line)
    for word in line:
        name = word.lstrip("+").partition("=")[0]
        if name.split(".")[0] in OF_EXPERIMENT:
            raise ValueError(f"{word} in a line of arms belongs to the whole experiment: set it outside of arms.")
    check_added(line)


def check_trained(line: Iterable[str], arm: DictConfig, name: str) -> None:
    """Raise a ValueError if a line of `arms` sets values of training, and its arm is not trained."""
    for word in line:
        if arm.training.get("zero_shot") and word.lstrip("+").startswith(OF_TRAINING):
            raise ValueError(f"{word} would change nothing: {name} is not trained. Add training=finetune to its line.")


def check_added(line: Iterable[str]) -> None:
    """Raise a ValueError if an override adds a value, with `+`, to a part of the configuration that reads no others."""
    for word in line:
        if not word.startswith("+") or word.startswith("++"):  # ++ sets a value, whether it is there or not
            continue
        part, _, name = word.lstrip("+").partition("=")[0].rpartition(".")
        if part in CLOSED and not (part == "" and (name in GROUPS or "/" in name or "@" in name)):
            raise ValueError(f"{word} adds a value that nothing reads: {part or 'the configuration'} has no {name!r}.")


def check_ignored(arms: Sequence[Any], command_line: Iterable[str], launched_here: bool = True) -> None:
    """Raise a ValueError if the command line sets values that change nothing in any arm.

    Args:
        arms: Arms, as plain data.
        command_line: Overrides of the command line.
        launched_here: Whether this command itself decides how many processes run at the same time.
    """
    lines = {line.lstrip("+").partition("=")[0]: line for line in command_line}
    for line in lines.values():
        if line.lstrip("+").startswith(OF_TRAINING) and not any(arm.config["training"] for arm in arms):
            raise ValueError(f"{line} would change nothing: no arm is trained. Add training=finetune.")
    trained = any(arm.config["training"] or arm.config["model"]["recipe"] for arm in arms)
    for name, line in lines.items():
        if name.startswith(OF_ANY_TRAINING) and not trained:
            raise ValueError(f"{line} would change nothing: neither base nor arms are trained. Add training=finetune.")
        if name.startswith("in_loop.") and not any(arm.config["in_loop"]["every"] for arm in arms):
            raise ValueError(f"{line} would change nothing: in_loop.every is 0. Add in_loop.every=STEPS.")
        if name == "jobs" and not launched_here:
            raise ValueError(f"{line} would change nothing: torchrun or Slurm decides how many processes run.")


def changes_nothing(config: DictConfig, name: str) -> bool:
    """Return whether no part of a composed configuration depends on a value such as `factor`."""
    parts = ["method", "evaluation", "model", "data"] + ([] if config.training.get("zero_shot") else ["training"])
    seen = []
    for value in (2.25, 3.5):
        other = OmegaConf.merge(config, {"pretrain_length": 64, name: value})
        seen.append([OmegaConf.to_container(OmegaConf.select(other, part), resolve=True) for part in parts])
    return seen[0] == seen[1]
