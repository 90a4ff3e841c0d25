"""Names of arms: where commands share a name for unlike settings, each arm has the settings that differ in its name."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcx_lightning.results.runs import Run

PARTS = ("model", "data", "method", "training", "evaluation", "attention", "grow")  # of a configuration: what an arm is
OF_EXPERIMENT = (
    "experiment",
    "question",
    "takes",
    "seeds",
    "dry_run",
    "recompute",
    "nonfinite",
    "jobs",
    "checkpoint_seconds",
)
LAYOUT = ("accelerator", "devices", "num_nodes", "accumulate_grad_batches", "strategy")  # how a trainer shares the work
READERS = ("token", "hf_token", "use_auth_token", "password", "api_key", "storage_options")  # who reads, not what
HASHES = ("corpus", "files", "examples", "code")
MOST = 4  # settings in a name
LONGEST = 24  # characters of a value in a name
SHORT = 6  # characters of a hash in a name
TARGET = "._target_"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

Settings = dict[str, Any]
"""Settings by dotted key."""


def snake_case(name: str) -> str:
    """The name of a class in records and names: growing_context of GrowingContext."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def part_name(node: Any) -> str:
    """The name, or the last part of the path, of a model or a corpus; that of its class if it has neither."""
    if not isinstance(node, Mapping):
        return ""
    load = node.get("load")
    given = node.get("name") or node.get("package") or (load.get("path") if isinstance(load, Mapping) else None)
    if given and given != "???":
        parts = [part for part in PurePath(str(given)).parts if not set("*?[") & set(part)]
        return PurePath(parts[-1]).stem if parts and "/" in str(given) else str(given)
    kind = str(node.get("_target_")).rpartition(".")[2]
    return snake_case(kind.removesuffix("Model").removesuffix("Corpus"))


def named(runs: Sequence["Run"]) -> list["Run"]:
    """The runs under names that each stand for one configuration; the runs of one configuration differ in their seed.

    A name that a command gave stays, unless commands gave it to several configurations, or several to one.
    """
    rivals: dict[str, list[Run]] = {}
    for run in runs:
        rivals.setdefault(_methods(run.info), []).append(run)
    names = {}
    for method, some in rivals.items():
        configurations = [_configuration(run.info) for run in some]
        given = [run.info["arm"] for run in some]
        pairs = set(zip(given, configurations, strict=True))
        if len(pairs) == len(set(given)) == len(set(configurations)):
            names |= {run.folder: run.info["arm"] for run in some}
            continue
        for run, words in zip(some, apart([settings(run.info) for run in some]), strict=True):
            names[run.folder] = " ".join([method, *words])
    taken = Counter((names[run.folder], run.info["seed"]) for run in runs)
    for run in runs:
        if taken[names[run.folder], run.info["seed"]] > 1:  # what no setting tells apart
            names[run.folder] += f" run={str(run.info.get('run') or run.folder.name)[:SHORT]}"
    return [replace(run, name=names[run.folder]) for run in runs]


def _methods(info: Mapping[str, Any]) -> str:
    """The methods of a run; the first word of its name, in files that do not say them."""
    return info.get("method") or info["arm"].split(" ")[0]


def _configuration(info: Mapping[str, Any]) -> str:
    """A text that changes with what the numbers of a run depend on, but for its seed."""
    known = settings(info)
    kept = [key for key in known if "." in key or key in (*PARTS, *HASHES, "pretrain_length")]
    return repr([(key, known[key]) for key in sorted(kept)])


def settings(info: Mapping[str, Any]) -> Settings:
    """What the numbers of a run depend on, but for its seed, as run.json has it; with the knobs that others follow.

    Under `model`, `evaluation` and the names of HASHES stand short words for the whole of a part.
    """
    config = info.get("config") or {}
    knobs = {name: value for name, value in config.items() if not isinstance(value, dict | list | None)}
    knobs = {name: value for name, value in knobs.items() if name not in (*PARTS, *OF_EXPERIMENT)}
    chosen, source = evaluations(info), (config.get("model") or {}).get("source") or {}
    trainer = {name: value for name, value in (config.get("trainer") or {}).items() if name not in LAYOUT}
    parts = {name: config[name] for name in PARTS if name in config} | {"evaluation": chosen, "trainer": trainer}
    length = {"pretrain_length": info["pretrain_length"]} if info.get("pretrain_length") else {}
    hashes = dict(zip(HASHES, [info.get("corpus"), info.get("model"), info.get("examples"), None], strict=True))
    hashes["code"] = "".join(one[:SHORT] for part in (info.get("contents") or {}).values() for one in part.values())
    class_name = str(source.get("_target_") or "").rpartition(".")[2].removesuffix("Model").lower()
    words = {"model": PurePath(str(source.get("name") or class_name)).name, "evaluation": "+".join(chosen)} | hashes
    training = config.get("training")
    trained = {"training": f"{training.get('steps')}-steps"} if training else {}
    found = dict(leaves(length | knobs)) | trained | dict(leaves(parts))
    if trained:
        found.pop("training.steps", None)  # which the word says
    found.pop("model.source.seed", None)
    return found | {name: word for name, word in words.items() if word}


def evaluations(info: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen evaluations by name: a configuration may hold settings of others."""
    every = (info.get("config") or {}).get("evaluation") or {}
    return {name: one for name, one in every.items() if isinstance(one, dict) and "_target_" in one}


def leaves(node: Any, key: str = "") -> list[tuple[str, Any]]:
    """Values of nested mappings by dotted key."""
    if not isinstance(node, Mapping):
        return [(key, int(node) if isinstance(node, float) and node.is_integer() else node)]  # factor=2.0 is factor=2
    inner = [(f"{key}.{name}" if key else str(name), value) for name, value in node.items() if name not in READERS]
    return [leaf for name, value in inner for leaf in leaves(value, name)]


def apart(every: Sequence[Settings]) -> list[list[str]]:
    """Words that tell configurations apart, such as "window=16", for each; none where all are alike.

    Of settings that follow another one, only that is named; of many, as few as tell all apart, and an ellipsis.
    """
    differing = _differing(every)
    keys = _without_followers(every, differing)
    more = [ELLIPSIS] if len(keys) > MOST else []
    keys = _fewest(every, keys) if more else keys
    short = _short(every, keys, ignored={*differing} - {*keys})
    return [[f"{short[key]}={_text(key, one[key])}" for key in keys if key in one] + more for one in every]


def _differing(every: Sequence[Settings]) -> list[str]:
    """Keys whose values differ, without those that stand below a part of another kind, and hashes of what differs."""
    keys = list(dict.fromkeys(key for one in every for key in one))
    found = [key for key in keys if len({_of(one, key) for one in every}) > 1]
    if "model" in found:  # its name says all of its source that is the same wherever the name is
        found = [key for key in found if not (key.startswith("model.source.") and _follows_model(every, key))]
    kinds = {key.removesuffix(TARGET) for key in found}
    found = [key for key in found if not (_is_below(key, kinds) and _is_constant(every, key))]
    return [key for key in found if key not in HASHES] or found


def _follows_model(every: Sequence[Settings], key: str) -> bool:
    """Whether a setting is the same for all that have one name of a model."""
    return len({(_of(one, "model"), _of(one, key)) for one in every}) == len({_of(one, "model") for one in every})


def _is_below(key: str, parts: set[str]) -> bool:
    names = key.removesuffix(TARGET).split(".")
    return any(".".join(names[:depth]) in parts for depth in range(1, len(names)))


def _is_constant(every: Sequence[Settings], key: str) -> bool:
    """Whether all that have the setting have the same value."""
    return len({_of(one, key) for one in every if key in one}) == 1


def _without_followers(every: Sequence[Settings], keys: list[str]) -> list[str]:
    """The keys without those that have the value of a knob, or of an earlier key of the same name, in all of them."""
    kept: list[str] = []
    for key in keys:
        alike = [one for one in keys if one != key and all(_of(some, one) == _of(some, key) for some in every)]
        leaders = [one for one in alike if one in kept and ("." not in one or _last(one) == _last(key))]
        knob = "." not in key and key not in (*PARTS, *HASHES, "pretrain_length")
        if not leaders and (not knob or any("." in one for one in alike)):  # else nothing depends on the knob
            kept.append(key)
    return [key for key in kept if key != "seed"]


def _fewest(every: Sequence[Settings], keys: list[str]) -> list[str]:
    """A few of the keys, that tell apart all that all of them tell apart, chosen one by one."""
    chosen: list[str] = []

    def kinds(some: list[str]) -> int:
        return len({tuple(_of(one, key) for key in some) for one in every})

    while kinds(chosen) < kinds(keys):
        chosen.append(max((key for key in keys if key not in chosen), key=lambda key: kinds([*chosen, key])))
    return chosen


def _short(every: Sequence[Settings], keys: list[str], ignored: set[str]) -> dict[str, str]:
    """The shortest end of each key that is the end of no other."""
    others = {key.removesuffix(TARGET) for one in every for key in one if key not in ignored}
    result = {}
    for key in keys:
        parts = key.removesuffix(TARGET).split(".")
        ends = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        result[key] = next((end for end in ends if sum(f".{o}".endswith(f".{end}") for o in others) == 1), ends[-1])
    return result


def _text(key: str, value: Any) -> str:
    """A setting's value for reading: "none", "true", "[1,2]", "YaRN"."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = str(value).replace(" ", "")
    text = text[:SHORT] if key in HASHES else text.rpartition(".")[2] if key.endswith(TARGET) else text
    return text if len(text) <= LONGEST else ELLIPSIS + text[-LONGEST:]


def _of(one: Settings, key: str) -> str:
    return repr(one[key]) if key in one else "absent"


def _last(key: str) -> str:
    return key.rpartition(".")[2]
