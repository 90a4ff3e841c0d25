"""The top-level values of a run: made what they mean, and refused where they mean nothing."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lcx_lightning.methods.library import complete
from lcx_lightning.results.naming import part_name

TEXTS = ("experiment", "question", "takes", "results_dir", "cache_dir")  # `question=5` is a text too
LISTS = ("look_for", "arms")
FOLDERS = ("results_dir", "cache_dir")
OPEN_KNOBS = ("window", "sink_tokens", "distance_limit", "width", "max_factor", "solver_steps")  # of the method's file
KNOBS = ("factor", "train_factor", *OPEN_KNOBS)  # which a grid may turn also for arms that do not depend on them
OF_EXPERIMENT = ("exp", *TEXTS, *LISTS, "seeds", "seed", "dry_run", "jobs", "launch", "report")
NAME = re.compile(r"[^\W_][^/\\\x00-\x1f]*")  # of a folder
CHOOSES = re.compile(r"\$\{(?!oc\.select:[\w.]+,)[^}]*(?:\$\{|:)")  # one in another, or a resolver that is not known
Place = tuple[DictConfig | ListConfig, Any, str]
"""A mapping or a list of a configuration, a key or an index in it, and the text that stands there."""
OF_TRAINING = ("training.", "training/", "in_loop.")
OF_ANY_TRAINING = ("recompute", "nonfinite", "checkpoint_seconds", "data.mixture", "data.documents")  # of a base too


def settle(config: DictConfig) -> None:
    """Make texts of values that are texts, whatever was typed, whole paths of folders, and a name, in place.

    Raises:
        ValueError: If a list is none, or there is no home folder for a path with `~`.
    """
    for name in LISTS:
        OmegaConf.update(config, name, [_text(one, name) for one in _list(config[name], name)])
    for name in TEXTS:
        if not OmegaConf.is_missing(config, name) and config[name] is not None:
            OmegaConf.update(config, name, _text(config[name], name))
    for name in FOLDERS:
        if not config[name]:
            raise ValueError(f"{name} must be a folder, got {name}={config[name] if config[name] == '' else 'null'}.")
        try:
            OmegaConf.update(config, name, str(Path(config[name]).expanduser()))
        except RuntimeError as error:
            raise ValueError(f"There is no home folder for {name}={config[name]}: set {name}, or HOME.") from error
    if config.experiment is None:
        config.experiment = usual_name(config)


def _list(value: Any, name: str) -> ListConfig:
    if not isinstance(value, ListConfig):
        raise ValueError(f"{name} must be a list, such as {name}=[first,second], got {value!r}.")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str | int | float):
        raise ValueError(f"{name} must be a text, or hold texts, got {value!r}.")
    return str(value)


def usual_name(config: DictConfig) -> str:
    """Return the name of an experiment that was given none: those of its model and its corpus."""
    parts = [_name_of(config.get("model"), "source"), _name_of(config.get("data"), "corpus")]
    name = re.sub(r"[^\w.+-]+", "_", "-".join(parts)).strip("_.-")
    return name or "experiment"


def _name_of(part: Any, inner: str) -> str:
    """Return the name of a model or a corpus; the word for it if it has none."""
    node: Any = OmegaConf.to_container(part) if isinstance(part, DictConfig) else {}
    return part_name(node.get(inner)) or inner


def check_needed(config: DictConfig) -> None:
    """Raise a ValueError if a value is missing that only the user knows."""
    if missing := OmegaConf.missing_keys(config) - set(OPEN_KNOBS):
        raise ValueError(f"A value is needed: add {' '.join(f'{name}=VALUE' for name in sorted(missing))}.")


def check_name(config: DictConfig) -> None:
    """Raise a ValueError if the name of the experiment can be no folder's."""
    if not NAME.fullmatch(config.experiment or "") or config.experiment == "aside":
        raise ValueError(
            "experiment is the name of a folder in results_dir: it begins with a letter or a digit and has no slash, "
            f"got {config.experiment!r}."
        )


def key_of(word: str) -> str:
    """Return the key of an override."""
    return word.lstrip("+~").partition("=")[0]


def check_of_arm(line: Iterable[str]) -> None:
    """Raise a ValueError if a line of `arms` sets what all arms share."""
    for word in line:
        if key_of(word).split(".")[0] in OF_EXPERIMENT:
            raise ValueError(f"{word} in a line of arms belongs to the whole experiment: set it outside of arms.")


def check_trained(line: Iterable[str], arm: DictConfig, name: str) -> None:
    """Raise a ValueError if a line of `arms` sets values of training, and its arm is not trained."""
    for word in line:
        if arm.training.get("zero_shot") and word.lstrip("+").startswith(OF_TRAINING):
            raise ValueError(f"{word} would change nothing: {name} is not trained. Add training=finetune to its line.")


def check_ignored(
    arms: Sequence[Any], command_line: Iterable[str], launched_here: bool = True, in_sweep: bool = False
) -> None:
    """Raise a ValueError if the command line sets values that change nothing in any arm.

    Args:
        arms: Arms, as plain data.
        command_line: Overrides of the command line.
        launched_here: Whether this command itself decides how many processes run at the same time.
        in_sweep: Whether the command is a cell of a sweep, whose other cells may be trained.
    """
    lines = {key_of(line): line for line in command_line}
    for line in lines.values() if not in_sweep else ():
        if line.lstrip("+").startswith(OF_TRAINING) and not any(arm.config["training"] for arm in arms):
            raise ValueError(f"{line} would change nothing: no arm is trained. Add training=finetune.")
    trained = any(arm.config["training"] or arm.config["model"]["recipe"] for arm in arms)
    for name, line in lines.items():
        if name.startswith(OF_ANY_TRAINING) and not trained and not in_sweep:
            raise ValueError(f"{line} would change nothing: neither base nor arms are trained. Add training=finetune.")
        if name.startswith("in_loop.") and not in_sweep and not any(arm.config["in_loop"]["every"] for arm in arms):
            raise ValueError(f"{line} would change nothing: in_loop.every is 0. Add in_loop.every=STEPS.")
        if name.split(".")[0] == "hardware" and arms[0].config["dry_run"] != "forecast":
            raise ValueError(f"{line} would change nothing: a forecast alone counts with it. Add dry_run=forecast.")
        if name == "jobs" and not launched_here:
            raise ValueError(f"{line} would change nothing: torchrun or Slurm decides how many processes run.")


def leave_open(config: DictConfig) -> None:
    """Leave out the knobs that are not set, in place: the method's file says what they are."""
    for knob in OPEN_KNOBS:
        if OmegaConf.is_missing(config, knob):
            del config[knob]


def idle_knobs(config: DictConfig, method: DictConfig | None = None) -> list[str]:
    """Return the knobs that no part of a composed configuration depends on.

    Args:
        config: The configuration, which is not changed.
        method: Its method, if another one than that of the configuration is meant.
    """
    values = OmegaConf.masked_copy(config, [str(part) for part in config if part != "hydra"])
    OmegaConf.set_readonly(values, False)
    OmegaConf.set_struct(values, False)
    values.method = complete(values.method) if method is None else method
    typed: Any = OmegaConf.to_container(values, resolve=False)
    named = [text for text in _texts(typed) if "${" in text]
    values.pretrain_length = 64
    parts = ["method", "evaluation", "model", "data"] + ([] if values.training.get("zero_shot") else ["training"])
    following = [place for part in parts for place in _following(values, part)]
    return [
        knob
        for knob in KNOBS
        if not any(knob in text for text in named) or _changes_nothing(values, knob, typed, following)
    ]


def but_for_knobs(config: DictConfig) -> str | None:
    """Return a text that configurations share which differ in values of knobs alone, and so in no idle knob.

    None if a value may follow another one or not, as a knob says: in `${a.${knob}}`, or by a resolver.
    """
    typed: dict[str, Any] = {}
    for name in map(str, config):
        node = config._get_node(name)
        open_or_following = OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name)
        if name in KNOBS and not open_or_following:
            typed[name] = "null" if node is None or node._is_none() else "a value"
        elif name != "hydra":
            typed[name] = OmegaConf.to_container(node) if OmegaConf.is_config(node) else str(node)
    return None if any(CHOOSES.search(text) for text in _texts(typed)) else repr(typed)


def _changes_nothing(values: DictConfig, knob: str, typed: dict[str, Any], following: list[Place]) -> bool:
    """Return whether no value that follows others changes with a knob, which is left as it was typed."""

    def at(place: Place, value: float) -> Any:
        values[knob] = value
        found = place[0][place[1]]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found

    likely_first = sorted(following, key=lambda place: knob not in place[2])
    try:
        return all(at(place, 2.25) == at(place, 3.5) for place in likely_first)
    finally:
        values.pop(knob)
        values.update({knob: typed[knob]} if knob in typed else {})


def _following(node: DictConfig | ListConfig, key: Any) -> Iterator[Place]:
    """Yield the places at and below a key whose values follow others, such as `${factor}`."""
    inner = node._get_node(key)
    if OmegaConf.is_interpolation(node, key):
        yield node, key, str(inner)
    elif isinstance(inner, DictConfig | ListConfig) and not inner._is_none():
        for name in inner if isinstance(inner, DictConfig) else range(len(inner)):
            yield from _following(inner, name)


def _texts(node: Any) -> Iterator[str]:
    """Yield all texts in a configuration."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for one in inner:
        yield from _texts(one)
    if isinstance(node, str):
        yield node
