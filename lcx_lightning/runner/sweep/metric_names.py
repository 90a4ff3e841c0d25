"""The names of what an arm will log, known before it runs: those of `results.logged.summary`, and of its curves."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lcx_lightning.results.logged import DEPTH, relative
from lcx_lightning.results.metrics import Metric, from_data
from lcx_lightning.schema.near import did_you_mean

if TYPE_CHECKING:
    from lcx_lightning.runner.arms import Arm

IN_LOOP = "in_loop"
MULTIPLE = re.compile(r"(\d+(?:\.\d+)?)L")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
ENDS = ("", "/low", "/high")
CURVES = ("train/loss", "train/grad_norm", "train/tokens_per_second", "train/mfu", "validation/loss")
THROUGHPUT = "steps skipped_steps tokens tokens_per_second flops_per_token peak_flops mfu seconds data_wait_seconds"
THROUGHPUT += " checkpoint_seconds checkpoints memory_peak_bytes devices device_seconds"
OF_BASE = ("validation_loss", "seconds")
SHOWN = 4  # names that a sentence lists


def why_not_logged(metric: str, arm: "Arm") -> str:
    """Return why an arm never logs a metric; nothing if it does."""
    kind, _, rest = metric.partition("/")
    names, (head, _, place) = list(dict.fromkeys(_names(arm))), metric.rpartition("/")
    if metric in names or (head in _by_other_places(arm) and NUMBER.fullmatch(place)):
        return ""
    if kind == IN_LOOP and not arm.evaluates_in_loop:
        return "nothing is evaluated during its training. Add in_loop.every=STEPS and a training"
    if metric in _of_training(arm) and arm.config["training"] is None:
        return "it is not trained"
    if kind == "base" and rest in OF_BASE:
        return "its base comes pretrained"
    if absent := _absent_length(metric, names, arm):
        return absent
    meant = f"perplexity/{rest}" if kind == "nll" else metric
    known = [*names, *(f"{one}/PLACE" for one in _by_other_places(arm))]
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    others = f" It logs {', '.join(known[:SHOWN])}{more}"
    return f"there is no such name.{did_you_mean(meant, {*names, *_of_training(arm)}) or others}"


def tokens_of(place: str, pretrain_length: int) -> int | None:
    """Return the tokens of a length in a metric's name, such as 512 or 4L; None if it is no length."""
    if found := MULTIPLE.fullmatch(place):
        return round(float(found[1]) * pretrain_length)
    return int(place) if place.isdigit() else None


def _absent_length(metric: str, names: list[str], arm: "Arm") -> str:
    """Return why a name is not logged that would be at another length; nothing if that is not why."""
    parts = metric.split("/")
    for index, place in enumerate(parts):
        if (tokens := tokens_of(place, arm.pretrain_length)) is None:
            continue
        for length in arm.lengths:  # of all evaluations
            there = str(length) if place.isdigit() else relative(length, arm.pretrain_length) or ""
            if "/".join([*parts[:index], there, *parts[index + 1 :]]) in names:
                return f"{tokens} tokens: {arm.not_evaluated.get(str(tokens), 'it is not evaluated at this length')}"
    return ""


def _names(arm: "Arm") -> Iterator[str]:
    """Yield the names of what an arm will log, but for those that stand by other places than lengths."""
    start = arm.pretrain_length
    for protocol, shown, metric, lengths in _measures(arm):
        if metric.axis.key != "context_length":
            continue
        for length in lengths:
            place = relative(length, start)
            yield f"{shown}/{protocol}/{length}"
            yield from (f"{shown}/{protocol}/{place}{end}" for end in ENDS)
            yield from (f"{shown}/{protocol}/{place}/depth_{depth:g}" for depth in _values(arm, protocol, f"{DEPTH}s"))
            if metric.logarithmic and start in lengths:
                yield from (f"ratio/{protocol}/{place}{end}" for end in ENDS)
        if metric.trials and _values(arm, protocol, "distances"):
            yield from (f"k_max/{protocol}/{relative(length, start)}" for length in lengths)
        if metric.better and start in lengths and lengths[-1] > start:
            yield f"holds_to/{protocol}"
    yield from arm.in_loop
    yield from _of_training(arm) if arm.config["training"] else ()
    yield from (f"base/{name}" for name in OF_BASE if arm.config["model"]["recipe"])
    yield "cost/device_seconds"


def _of_training(arm: "Arm") -> list[str]:
    """Return the names of what is logged of a training; a rate for each kind of parameters that there are."""
    optimizer = (arm.config["training"] or {}).get("optimizer") or {}
    of_matrices = ["matrices"] if "matrix_lr" in optimizer else []
    rates = ["weights", *of_matrices, *(["method"] if arm.learns else [])]
    return [*CURVES, *(f"train/lr/{name}" for name in rates), *(f"throughput/{name}" for name in THROUGHPUT.split())]


def _by_other_places(arm: "Arm") -> list[str]:
    """Return the names of measures that stand by something else than lengths, such as layers, without the place."""
    return [f"{shown}/{protocol}" for protocol, shown, one, _ in _measures(arm) if one.axis.key != "context_length"]


def _measures(arm: "Arm") -> list[tuple[str, str, Metric, list[int]]]:
    """Return protocol, the word for what is shown, the declaration and the lengths of each metric."""
    found = []
    for key, metric in from_data(arm.metrics).items():
        protocol, _, name = key.partition("/")
        found.append((protocol, "perplexity" if name == "nll" else name, metric, arm.served[key]))
    return found


def _values(arm: "Arm", protocol: str, key: str) -> Any:
    """Return a value of the evaluations of a protocol, such as the depths of its needles; nothing if they have none."""
    parts: list[Any] = [one for one in arm.config["evaluation"].values() if isinstance(one, dict)]
    return next((one[key] for one in parts if one.get("protocol") == protocol and one.get(key)), ())
