"""The paired table: every arm relative to one of them, on the seeds and documents that both have."""

import difflib
import math
from collections.abc import Iterable

from lcx_lightning.results.analysis.estimates import Estimate, arm_rows, paired, rows_by_place
from lcx_lightning.results.metrics import Measure, Metric
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.labels import (
    NOT_EVALUATED,
    arm_label,
    described,
    measured_places,
    place_header,
    status,
    titled,
)
from lcx_lightning.results.report.tables import Cell, Table, number_of, thinned

UNTOUCHED = "pretrained"  # method of the arm that others are compared with, if none was chosen


def relative_table(experiment: Experiment, measure: Measure, reference: str) -> Table | None:
    """Ratios of perplexities, or differences of scores, of all other arms to the reference; None if there are none."""
    metric = experiment.metric(measure)
    found = comparisons(experiment, measure, reference) if metric.better else {}
    if not found:
        return None
    columns = thinned([place for place in measured_places(experiment, measure) if any(n == place for _, n in found)])
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in found):
        runs = experiment.runs_of(arm)
        texts = [_text(found.get((arm, place)), metric) for place in columns]
        rows.append([Cell(arm_label(runs)), *(Cell(f"({text})" if status(runs) else text) for text in texts)])
    header = ["arm", *(place_header(experiment, measure, place) for place in columns)]
    title = titled(experiment, f"{described(experiment, measure)}, relative to {reference} [95%]")
    compared = {reference, *(arm for arm, _ in found)}
    left_out = [_left_out(experiment, measure, arm, reference) for arm in experiment.arms() if arm not in compared]
    explained = [_note(found, metric, reference), *filter(None, left_out)]
    numbers = [number_of(experiment, measure, *at, one, relative_to=reference) for at, one in found.items()]
    return Table(title, header, rows, explained, own=("",), end="_relative", numbers=numbers)


def reference_of(whole: Experiment, part: Experiment) -> str | None:
    """Name in a part of the arm that its others are compared with; None if it is not there.

    It is the one that `report.against` has named for the whole experiment, or the untouched model.
    """
    against = whole.meta.get("against")
    if against:
        chosen = [run.folder for run in whole.runs if run.arm == against]
        chosen = chosen or [run.folder for run in whole.runs if run.info["arm"] == against]
        return next((run.arm for run in part.runs if run.folder in chosen), None)
    untouched = [
        run.arm for run in part.runs if run.info.get("method") == UNTOUCHED and not run.info.get("train_length")
    ]
    return UNTOUCHED if UNTOUCHED in untouched else next(iter(untouched), None)


def check_against(against: str, arms: Iterable[str]) -> None:
    """Raise a ValueError, with near names, if no arm has the name that was given."""
    names = list(dict.fromkeys(arms))
    if against in names:
        return
    near = difflib.get_close_matches(against, names, n=3) or [name for name in names if name.startswith(f"{against} ")]
    meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        f"report.against must be the name of an arm, and there is no {against!r}.{meant} The arms are: "
        f"{', '.join(names)}."
    )


def comparisons(experiment: Experiment, measure: Measure, reference: str) -> dict[tuple[str, float], Estimate]:
    """The comparison with the reference by arm and place, where both have a document of one seed."""
    key = ("comparisons", measure, reference)
    return experiment.once(key, lambda: _comparisons(experiment, measure, reference))


def _comparisons(experiment: Experiment, measure: Measure, reference: str) -> dict[tuple[str, float], Estimate]:
    metric = experiment.metric(measure)
    of_reference = rows_by_place(experiment, reference, measure)
    found = {}
    for arm in experiment.arms():
        rows = rows_by_place(experiment, arm, measure) if arm != reference else {}
        for place, others in of_reference.items():
            if place in rows and _documents(rows[place]) & _documents(others):
                found[arm, place] = paired(rows[place], others, metric)
    return found


def _left_out(experiment: Experiment, measure: Measure, arm: str, reference: str) -> str:
    """A sentence on an arm with numbers that has no seed, or no document and length, in common with the reference."""
    every = [arm_rows(experiment, name, measure) for name in (arm, reference)]
    if not all(every):
        return ""
    mine, others = ({row["seed"] for row in rows} for rows in every)
    if mine & others:
        return f"{arm} is not compared: it has no documents at the lengths of {reference}."
    return (
        f"{arm} is not compared: its seeds are {_listed(mine)}, and those of {reference} are {_listed(others)}. Run "
        "both with the same."
    )


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _documents(rows: list[dict]) -> set[tuple]:
    return {(row["seed"], row.get("dataset"), row["document"]) for row in rows if row["n"]}


def _is_ratio(metric: Metric) -> bool:
    return metric.display == "perplexity"


def _text(found: Estimate | None, metric: Metric) -> str:
    """A ratio or a difference, with its interval unless it has none or the arms are equal."""
    if found is None or math.isnan(found.value):
        return NOT_EVALUATED
    return estimate_with_interval(found, metric)


def estimate_with_interval(found: Estimate, metric: Metric, compared: bool = True) -> str:
    """A number with its interval, unless it has none; `compared`: it is a ratio or a difference."""
    ends = (found.value, found.low, found.high)
    value, low, high = (_number(one, metric, found.value) if compared else metric.text(one) for one in ends)
    unknown = not math.isfinite(found.low + found.high) or found.low == found.value == found.high
    return value if unknown else f"{value} [{low}, {high}]"


def _number(number: float, metric: Metric, value: float) -> str:
    """A number, as precise as that whose interval it may be an end of."""
    if _is_ratio(metric):
        return f"{number:.3f}" if value < 0.0995 else metric.text(number)
    return f"+{metric.text(number)}" if number > 0 else metric.text(number)


def _note(found: dict[tuple[str, float], Estimate], metric: Metric, reference: str) -> str:
    what = f"{metric.title.capitalize()} over that" if _is_ratio(metric) else f"{metric.title}, difference from that"
    equal = "1" if _is_ratio(metric) else "0"
    better = f"{'below' if metric.better == 'lower' else 'above'} {equal} is better"
    seeds = sorted({one.n_seeds for one in found.values()})
    over = [f"t over the seeds that both have (n = {_span(n for n in seeds if n > 1)})"] if seeds[-1] > 1 else []
    if seeds[0] == 1:
        documents = _span(one.n_documents for one in found.values() if one.n_seeds == 1)
        over.append(f"bootstrap over the documents that both have (n = {documents}), of one seed")
    return f"{what} of {reference}: {better}. In brackets the 95% interval of the paired comparison: {'; '.join(over)}."


def _span(numbers: Iterable[int]) -> str:
    numbers = sorted(numbers)
    return f"{numbers[0]:,}" if numbers[0] == numbers[-1] else f"{numbers[0]:,} to {numbers[-1]:,}"
