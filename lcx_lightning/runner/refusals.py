"""What Hydra refuses, in a sentence: which name or value, what there is instead, and never a `+` that hides a typo."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException

from lcx_lightning.methods.library import methods, read_method
from lcx_lightning.results.report.screen import say
from lcx_lightning.runner.experiments import experiments
from lcx_lightning.runner.secrets import masked_text
from lcx_lightning.runner.settings import OF_EXPERIMENT
from lcx_lightning.schema.build import TARGET
from lcx_lightning.schema.near import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

UNKNOWN = re.compile(r"Could not override '([^']+)'")
THERE = re.compile(r"An item is already at '([^']+)'")
NOT_THERE = re.compile(r"Could not delete from config\. '([^']+)'")
SWEEP = re.compile(r"Sweep parameters '([^']*=[^']*)' requires")
GROUPS = (
    "exp",
    "recipe",
    "model",
    "data",
    "method",
    "training",
    "evaluation",
    "trainer",
    "launch",
    "logger",
    "hardware",
)
SUBGROUPS = ("training/lora",)
NAME = re.compile(r"\+{0,2}[\w./@:-]+")  # of a value or a group
NONE = {  # how a part is left out
    "method": "write method=pretrained",
    "training": "write training=none",
    "logger": "write logger=none",
    "training/lora": "leave the word out",
    "recipe": "leave the word out",
}
FEW = 8  # choices of a group that are looked into
WITH_VALUE = re.compile(r"^(--config-\w+|--package|--experimental-rerun|-cd|-cn|-cp|-p|-c|--cfg)$")
AMBIGUOUS = re.compile(r"Ambiguous value for argument '([^']*=[^']*)'")


BAD_INPUT = (ValueError, OSError, HydraException, OmegaConfBaseException)


def refuse(error: BaseException, console: "Console", line: Sequence[str] = ()) -> int:
    """Say what is wrong with the input, and return the exit code."""
    hydras = isinstance(error, HydraException | OmegaConfBaseException)
    say(console, explained(error, line) if hydras else str(error), "error:", "red")
    return 2


def explained(error: HydraException | OmegaConfBaseException, line: Sequence[str]) -> str:
    """Return a sentence about bad input.

    Args:
        error: What Hydra or OmegaConf has raised.
        line: Overrides that were composed.
    """
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if found := UNKNOWN.search(text):
        inner = str(getattr(error.__cause__, "full_key", ""))
        if not inner.startswith(f"{found[1]}."):
            return _unknown_key(found[1], line)
        kept = f"A mapping in braces changes the values that it names, and leaves the others of {found[1]} as they are."
        return f"{_unknown_key(inner, line)} {kept}"
    if found := THERE.search(text):
        return f"{found[1]} is a value that is there already: write {found[1]}=VALUE, without +."
    if found := NOT_THERE.search(text):
        return f"There is no {found[1]} that could be left out.{did_you_mean(found[1], keys_without(found[1], line))}"
    if found := AMBIGUOUS.search(text) or SWEEP.search(text):
        return _several(found[1])
    if isinstance(error, InterpolationKeyError) and (left_out := [word for word in line if word.startswith("~")]):
        return f"{_unresolved(error)} It is left out by {' '.join(left_out)}."
    if isinstance(error, OmegaConfBaseException):
        return _unresolved(error)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    said = masked_text(" ".join(filter(None, map(str.strip, text.split("\n")))))
    return f"{said} {_unresolved(cause)}" if cause is not None and str(cause) not in said else said


def wrong_word(words: Sequence[str]) -> str:
    """Return a sentence about the first word of a command line that can be no override; nothing if all can be."""
    if len(experiments := [word for word in words if word.startswith("+exp=")]) > 1:
        return f"{' and '.join(experiments)}: one experiment at a time. To run each: -m +exp=NAME,NAME."
    for word in words:
        name, equals, value = word.partition("=")
        if value == "None":
            return f'{word}: None is a text here. Write {name}=null for none; in the file of a sweep "null", in quotes.'
        if equals and name.startswith("+") and name.lstrip("+") in GROUPS and name.lstrip("+") != "exp":
            return (
                f"{word}: {name.lstrip('+')} is a group that has a choice already: write {word.lstrip('+')}, without +."
            )
        if name == "+exp" and value.startswith("["):
            return f"{word}: one experiment at a time. To run each: -m +exp={value.strip('[]')}."
        if equals and name.lstrip("+") in (*GROUPS, *SUBGROUPS) and not _is_choice(word):
            none = NONE.get(name.lstrip("+"), "")
            instead = f" To have none, {none}." if none and value == "null" else ""
            return f"{word}: {name} is a group, which takes the name of a file, such as {name}=NAME.{instead}"
        if word.startswith(("-", "~", "hydra")) or (equals and NAME.fullmatch(name)):
            continue
        if takes_value(words[words.index(word) - 1], word):
            continue
        return (
            f"{masked_text(word)!r} is no value: write NAME=VALUE without blanks, such as method=lm_infinite or "
            "'question=\"Does it hold?\"'."
        )
    return ""


def _is_choice(word: str) -> bool:
    """Return whether an override of a group has the name of a file, or a list of names, as its value."""
    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException:  # Hydra says what cannot be read
        return True
    value = parsed.value()
    return all(map(_is_name, value.list if isinstance(value, ChoiceSweep) else [value]))


def _is_name(value: object) -> bool:
    """Return whether the value of a group is a name, a pattern of names, or a list of such."""
    if isinstance(value, list):
        return all(map(_is_name, value))
    return bool(value) and isinstance(value, str | QuotedString | Glob)


def takes_value(option: str, after: str) -> bool:
    """Return whether a word is the value of the option ahead of it, such as --config-dir."""
    return bool(WITH_VALUE.search(option)) or (option in ("--info", "-i") and "=" not in after)


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = list(error.options or ())
    if group == "method":
        options = sorted({*options, *methods()})
    if not group:
        return f"There is no group or file {name!r}.{did_you_mean(name, options)}"
    if group not in (*GROUPS, *SUBGROUPS):  # the path of a file, as in method=folder/mine.yaml
        first, *inner = group.split("/")
        return (
            f"{first}={'/'.join([*inner, name])}: {first} takes the name of a file, and no path. For a file of your "
            f"own: --config-dir FOLDER {first}=NAME, with FOLDER/{first}/NAME.yaml."
        )
    there_are = f" There are: {', '.join(options)}."
    if group == "exp":
        questions = {one.name: f"{one.question} ({one.takes})" for one in experiments()}
        there_are = "".join(
            ["\nThere are:", *(f"\n  {one}: {questions.get(one, 'one of your own')}" for one in options)]
        )
    word = f"+{group}=" if group == "exp" else f"{group}="
    meant = did_you_mean(name, options, word) or _in_other_groups(name, group)
    return f"{word}{name}: there is no {group} {name!r}.{meant}{there_are}"


def _in_other_groups(name: str, group: str) -> str:
    """Return a question with the choice of another group that has a name; nothing if there is none."""
    words = [f"{one}={name}" for one in (*GROUPS, *SUBGROUPS) if one != group and name in _options(one)]
    return f" Did you mean {' or '.join(words)}?" if words else ""


def _unreadable(error: OverrideParseException) -> str:
    word = masked_text(str(error.override))
    what = str(error.message if hasattr(error, "message") else error).split("\n")[0]
    unclear = any(sign in what for sign in ("Exception", "Error parsing", "expecting"))
    what = "it breaks off, or has signs that need quotes" if unclear else what
    if "=" not in word:
        return f"{word!r} is no value: write NAME=VALUE, such as method=lm_infinite or factor=4."
    if word.startswith("arms="):
        return f"{word} cannot be read: quote each line and the whole, as in \"arms=['method=yarn factor=2,4']\"."
    return (
        f"{word} cannot be read: {what}. Put a text with blanks, brackets, quotes or = into quotes of its own, as in "
        "'question=\"Why = 5?\"'."
    )


def _unknown_key(key: str, line: Sequence[str]) -> str:
    """Return the sentence about a key that there is not, with those that are like it."""
    if f"~{key}" in line:
        return f"~{key} leaves out {key}, which another word sets: leave out one of the two."
    if key == "exp":
        return "An experiment is added to the values: write +exp=NAME, with a plus."
    if owners := [name for name, keys in _method_keys().items() if key in keys]:
        return f"{key} is no value of this method, but of {', '.join(owners)}: choose one of these with method=NAME."
    there = keys_without(key, line)
    group, _, inner = key.partition(".")
    name = inner.split(".")[0]
    chosen = any(one.startswith(f"evaluation.{name}.") for one in there)
    if group == "evaluation" and not chosen and name in _options(group):
        several = f"evaluation=[{name},growing_context]"
        return f"{key}: the evaluation {name} is not chosen. Add evaluation={name}, or a list such as {several}."
    if owners := _choices_with(key, group):
        return f"{key} is no value of this {group}, but of {', '.join(owners)}: choose one of these with {group}=NAME."
    last = key.rpartition(".")[2]
    others = [] if any(one.rpartition(".")[2] == last for one in there) else _method_keys().values()
    known = [*there, *chain.from_iterable(others)]
    inside = [name for name in there if name.startswith(f"{key.rpartition('.')[0]}.")]
    there_are = ""
    if "." in key and inside and len(inside) <= 30:
        parent = key.rpartition(".")[0]
        there_are = f" {parent} has {', '.join(name.removeprefix(f'{parent}.') for name in inside)}."
    return f"There is no value {key!r}.{did_you_mean(key, known)}{there_are} All values: lcx run --cfg job."


def _options(group: str) -> list[str]:
    """Return the choices of a group."""
    return (
        GlobalHydra.instance().config_loader().get_group_options(group)
        if GlobalHydra.instance().is_initialized()
        else []
    )


def _choices_with(key: str, group: str) -> list[str]:
    """Return the choices of a small group, not that of methods, that have a value of this key."""
    options = _options(group) if group in GROUPS and "." in key else []
    if group in ("method", "exp") or len(options) > FEW:
        return []
    return [name for name in options if key in keys_without(key, [f"{group}={name}"])]


def _method_keys() -> dict[str, list[str]]:
    """Return the keys of the settings of every method of the package, those of its parts and none further inside."""
    found = {name: keys_of(OmegaConf.create({"method": read_method(name)})) for name in methods()}
    return {name: [key for key in keys if key.count(".") == 2] for name, keys in found.items()}


def _several(word: str) -> str:
    name, _, values = word.partition("=")
    if name == "method":
        return (
            f"{word} names several methods. To compare them: -m {word}, or \"arms=['{word}']\". To compose a hybrid: "
            f"'method=[{values}]'."
        )
    each = f"{word} has several values. To run each: -m {word}"
    if name.lstrip("+").split(".")[0] in OF_EXPERIMENT:
        return f"{each}."
    return f"{each}, or \"arms=['{word}']\". Where a value is a list, write '{name}=[{values}]'."


def _unresolved(error: OmegaConfBaseException) -> str:
    said = (error.msg or str(error)).split("\n")[0]
    key = f"{error.full_key}: " if error.full_key else ""
    hint = " ${NAME} stands for the value of another key." if isinstance(error, InterpolationResolutionError) else ""
    return f"{key}{said.rstrip('.')}.{hint}"


def keys_without(key: str, line: Iterable[str]) -> list[str]:
    """Return all keys and groups of the configuration of a command line, in which an unknown key is left out."""
    names = [(word, word.lstrip("+~").partition("=")[0]) for word in line]
    kept = [word for word, name in names if name in GROUPS or not f"{key}.".startswith(f"{name}.")]
    if not GlobalHydra.instance().is_initialized():
        return []
    fewer = [word for word in kept if word.startswith(("hydra.searchpath=", "+exp="))]
    for words in (kept, fewer, []):
        try:
            return [*keys_of(compose("run", words))]
        except (HydraException, OmegaConfBaseException):
            continue
    return []


def keys_of(config: DictConfig) -> list[str]:
    """Return the dotted keys of all values of a configuration, and the names of its groups."""
    found: list[str] = []

    def walk(node: DictConfig, prefix: str) -> None:
        for name in map(str, node):
            inner = node._get_node(name)
            if isinstance(inner, DictConfig) and not inner._is_none() and not inner._is_interpolation():
                found.extend([] if prefix else [name])
                walk(inner, f"{prefix}{name}.")
            elif name != TARGET:
                found.append(f"{prefix}{name}")

    walk(config, "")
    return found
