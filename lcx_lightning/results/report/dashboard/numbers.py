"""The numbers of a page as columns: each stands in the page once, and every chart reads it there."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

from lcx_lightning.results.analysis.estimates import Estimate, arm_rows, score
from lcx_lightning.results.metrics import Measure, Metric
from lcx_lightning.results.records import Experiment, Run
from lcx_lightning.results.report.relative import estimate_with_interval

DIGITS = 6  # of a number that is drawn; what is read is its text
Found = Mapping[tuple[str, float], Estimate]


def columns(found: Found, metric: Metric, arms: Mapping[str, int], compared: bool = False) -> dict[str, Any]:
    """Estimates by arm and place as columns: numbers to draw, and their texts, as in the tables.

    Args:
        found: Estimates by arm and place.
        metric: How they are shown.
        arms: Numbers of the arms on the page, by their names here.
        compared: Whether the estimates are ratios or differences.
    """
    ns: dict[str, int] = {}
    result: dict[str, list] = {name: [] for name in ("arm", "place", "value", "low", "high", "text", "interval", "n")}
    for (arm, place), one in found.items():
        text, _, interval = estimate_with_interval(one, metric, compared).partition(" [")
        row = {"arm": arms[arm], "place": place, "text": text, "interval": interval.rstrip("]")}
        row |= {name: drawn(getattr(one, name)) for name in ("value", "low", "high")}
        row["n"] = ns.setdefault(n_text(one), len(ns))
        for name, value in row.items():
            result[name].append(value)
    return {"columns": result, "ns": [*ns]}


def n_text(found: Estimate) -> str:
    """How much an estimate is of: "3 seeds, 8 documents, 512 scored"."""
    seeds, documents = found.n_seeds, found.n_documents
    return f"{seeds} seed{'s' * (seeds > 1)}, {documents} document{'s' * (documents > 1)}, {found.n_scored:,} scored"


def drawn(value: float) -> float | None:
    """A number that can be drawn, as precise as a screen; None for one that is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def depth_columns(experiment: Experiment, measure: Measure, arms: Mapping[str, int]) -> dict[str, list] | None:
    """The mean score of each arm by context length and depth of the needle; None if no row has a depth."""
    metric = experiment.metric(measure)
    result: dict[str, list] = {name: [] for name in ("arm", "length", "depth", "value", "text", "n")}
    for arm in experiment.arms() if metric.better == "higher" else ():
        cells: dict[tuple[int, float], list[dict]] = {}
        for row in arm_rows(experiment, arm, measure):
            if "depth" in row["at"]:
                cells.setdefault((row["context_length"], row["at"]["depth"]), []).append(row)
        for (length, depth), rows in sorted(cells.items()):
            value = score(rows, metric)
            cell = (arms[arm], length, depth, drawn(value), metric.text(value), sum(row["n"] for row in rows))
            for name, one in zip(result, cell, strict=True):
                result[name].append(one)
    return result if result["arm"] else None


COSTS = {
    "device_seconds": "device seconds a seed",
    "seconds": "seconds of training and evaluation a seed",
    "extend_seconds": "seconds of training a seed",
    "memory_bytes": "peak memory in training (bytes)",
}


def costs(runs: list[Run]) -> dict[str, float | None]:
    """What an arm has cost, the mean over its runs; None where no run says."""
    return {name: _mean([_cost(run.info, name) for run in runs]) for name in COSTS}


def _cost(info: Mapping[str, Any], name: str) -> float | None:
    seconds = info.get("seconds") or {}
    if name == "seconds":
        return sum(seconds.values()) if seconds else None
    if name == "extend_seconds":
        return seconds.get("extend")
    found = info.get("device_seconds") if name == "device_seconds" else (info.get("throughput") or {}).get(
        "memory_peak_bytes"
    )  # fmt: skip
    return float(found) if isinstance(found, int | float) else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return drawn(statistics.fmean(known)) if known else None
