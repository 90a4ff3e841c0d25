"""The names of what an arm will log, known before it runs: those of `results.logged.summary`, and of its curves."""

import re
from collections.abc import Iterator
from typing import Any

from lcx_lightning.results.logged import DEPTH, relative
from lcx_lightning.results.metrics import Metric, from_data
from lcx_lightning.runner.arms import Arm
from lcx_lightning.schema.near import did_you_mean

IN_LOOP = "in_loop"
MULTIPLE = re.compile(r"(\d+(?:\.\d+)?)L")
ENDS = ("", "/low", "/high")
CURVES = ("train/loss", "train/grad_norm", "train/tokens_per_second", "train/mfu", "validation/loss")
CURVES += tuple(f"train/lr/{name}" for name in ("weights", "matrices", "method"))
THROUGHPUT = "steps skipped_steps tokens tokens_per_second flops_per_token peak_flops mfu seconds data_wait_seconds"
THROUGHPUT += " checkpoint_seconds checkpoints memory_peak_bytes devices device_seconds"
OF_TRAINED = (*CURVES, *(f"throughput/{name}" for name in THROUGHPUT.split()))
SHOWN = 4  # names that a sentence lists


def why_not_logged(metric: str, arm: Arm) -> str:
    """Return why an arm never logs a metric; nothing if it does."""
    kind, _, rest = metric.partition("/")
    names = list(dict.fromkeys(_names(arm)))
    if metric in names or metric.rpartition("/")[0] in _by_other_places(arm):
        return ""
    if kind == IN_LOOP and not arm.evaluates_in_loop:
        return "nothing is evaluated during its training. Add in_loop.every=STEPS and a training"
    if metric in OF_TRAINED and arm.config["training"] is None:
        return "it is not trained"
    if absent := _absent_length(metric, names, arm):
        return absent
    meant = f"perplexity/{rest}" if kind == "nll" else metric
    others = f" It logs {', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"
    return f"there is no such name.{did_you_mean(meant, {*names, *OF_TRAINED}) or others}"


def tokens_of(place: str, pretrain_length: int) -> int | None:
    """Return the tokens of a length in a metric's name, such as 512 or 4L; None if it is no length."""
    if found := MULTIPLE.fullmatch(place):
        return round(float(found[1]) * pretrain_length)
    return int(place) if place.isdigit() else None


def _absent_length(metric: str, names: list[str], arm: Arm) -> str:
    """Return why a name is not logged that would be at another length; nothing if that is not why."""
    parts = metric.split("/")
    for index, place in enumerate(parts):
        if (tokens := tokens_of(place, arm.pretrain_length)) is None:
            continue
        for length in arm.lengths:
            there = str(length) if place.isdigit() else relative(length, arm.pretrain_length) or ""
            if tokens not in arm.lengths and "/".join([*parts[:index], there, *parts[index + 1 :]]) in names:
                return f"{tokens} tokens: {arm.not_evaluated.get(str(tokens), 'no evaluation has this length')}"
    return ""


def _names(arm: Arm) -> Iterator[str]:
    """Yield the names of what an arm will log, but for those that stand by other places than lengths."""
    start = arm.pretrain_length
    for protocol, shown, metric in _measures(arm):
        if metric.axis.key != "context_length":
            continue
        for length in arm.lengths:
            place = relative(length, start)
            yield f"{shown}/{protocol}/{length}"
            yield from (f"{shown}/{protocol}/{place}{end}" for end in ENDS)
            yield from (f"{shown}/{protocol}/{place}/depth_{depth:g}" for depth in _depths(arm, protocol))
            if metric.logarithmic and start in arm.lengths:
                yield from (f"ratio/{protocol}/{place}{end}" for end in ENDS)
        if metric.trials:
            yield from (f"k_max/{protocol}/{relative(length, start)}" for length in arm.lengths)
        if metric.better and start in arm.lengths and arm.lengths[-1] > start:
            yield f"holds_to/{protocol}"
    yield from arm.in_loop
    if arm.config["training"]:
        yield from OF_TRAINED
    yield from (*(f"base/{name}" for name in ("validation_loss", "seconds")), "cost/device_seconds")


def _by_other_places(arm: Arm) -> list[str]:
    """Return what stands before the place in names by other places than lengths, such as layers."""
    return [f"{shown}/{protocol}" for protocol, shown, one in _measures(arm) if one.axis.key != "context_length"]


def _measures(arm: Arm) -> list[tuple[str, str, Metric]]:
    """Return protocol, the word for what is shown, and the declaration of each metric."""
    parts = [(*name.split("/", 1), metric) for name, metric in from_data(arm.metrics).items()]
    return [(protocol, "perplexity" if name == "nll" else name, metric) for protocol, name, metric in parts]


def _depths(arm: Arm, protocol: str) -> list[float]:
    """Return the depths at which needles of a protocol are placed."""
    parts: list[Any] = [one for one in arm.config["evaluation"].values() if isinstance(one, dict)]
    return [depth for one in parts if one.get("protocol") == protocol for depth in one.get(f"{DEPTH}s") or ()]
