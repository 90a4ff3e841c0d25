"""Tables of a measure, arms by context lengths, and their form in Markdown."""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lcx_lightning.results.analysis.best import best_arm
from lcx_lightning.results.analysis.effective_context import effective_contexts
from lcx_lightning.results.analysis.estimates import Estimate, estimates, rows_by_place
from lcx_lightning.results.metrics import Measure, Metric
from lcx_lightning.results.records import Experiment, Run
from lcx_lightning.results.report.labels import (
    NOT_EVALUATED,
    arm_label,
    described,
    fingerprint_text,
    measured_places,
    place_header,
    pretrain_length,
    seconds_text,
    status,
    titled,
    train_lengths,
)
from lcx_lightning.results.report.notes import OF_NUMBERS, notes

BEST = "\N{DAGGER}"
BEST_NOTE = (
    f"{BEST} marks the best number of a column, where the 95% interval of the paired comparison of its arm with every "
    "other one excludes that they are equal. As all of these tests must agree, their number needs no correction; that "
    "of the columns is not corrected for: where arms are alike, one column in 20 may have a mark by chance."
)
COLUMNS = 12  # largest number of places
LOPSIDED = 0.2  # half-width in log perplexity from which "±" would mislead: exp(0.2) is +22%, exp(-0.2) is -18%


@dataclass(frozen=True)
class Cell:
    """One cell; marked if the column is the length that the arm was trained at, best if its arm is, distinguishably."""

    text: str
    marked: bool = False
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Header and rows of cells (the arm's name first), the title, and the notes that explain them.

    The last `about` columns tell of the arms, and not of what the table is about. Notes that begin like one of `own`
    are of the numbers of this table; the others explain names and marks wherever they stand. The cells of a table of
    `sentences` are broken into lines. `end` is the end of its file's name. `numbers` are what its cells are rounded
    from: rows of a file, by column.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str]
    about: int = 0
    own: tuple[str, ...] = ()
    sentences: bool = False
    end: str = ""
    numbers: Sequence[dict[str, Any]] = ()


def length_table(experiment: Experiment, measure: Measure) -> Table:
    """Arms in the order of the grid, a column per length, the arm's mean time over seeds, and its fingerprint."""
    columns = thinned(measured_places(experiment, measure))
    found = estimates(experiment, measure)
    metric, effective = experiment.metric(measure), effective_contexts(experiment, measure)
    unit = pretrain_length(experiment)
    best, rows = best_arms(experiment, measure), []
    for arm in experiment.arms():
        runs = experiment.runs_of(arm)
        trained = train_lengths(runs) if metric.axis.is_length else set()
        cells = [_cell(found.get((arm, n)), metric, status(runs)) for n in columns]
        cells = [replace(c, marked=n in trained, best=best.get(n) == arm) for c, n in zip(cells, columns, strict=True)]
        times = [Cell(_mean_time(runs, stage)) for stage in ("extend", "evaluate")]
        holds = [Cell(effective[arm].text(unit) if arm in effective else NOT_EVALUATED)] if effective else []
        rows.append([Cell(arm_label(runs)), *cells, *holds, *times, Cell(fingerprint_text(runs))])
    holds = ["holds to"] if effective else []
    header = ["arm", *(place_header(experiment, measure, n) for n in columns), *holds, "train", "eval", "hash"]
    title = titled(experiment, described(experiment, measure))
    explained = [BEST_NOTE] * any(cell.best for row in rows for cell in row)
    explained += notes(experiment, measure, found, effective)
    numbers = [number_of(experiment, measure, *at, one, best=best.get(at[1]) == at[0]) for at, one in found.items()]
    return Table(title, header, rows, explained, about=3, own=OF_NUMBERS, numbers=numbers)


def best_arms(experiment: Experiment, measure: Measure) -> dict[float, str]:
    """The best of the arms that have finished by place on the axis of a measure, where it can be told."""
    metric, rows = experiment.metric(measure), dict[float, dict[str, list[dict]]]()
    for arm in experiment.arms():
        if not status(experiment.runs_of(arm)):
            for place, some in rows_by_place(experiment, arm, measure).items():
                rows.setdefault(place, {})[arm] = some
    found = {place: best_arm(some, metric) for place, some in rows.items()}
    return {place: arm for place, arm in found.items() if arm}


def number_of(
    experiment: Experiment, measure: Measure, arm: str, place: float, found: Estimate, **more: Any
) -> dict[str, Any]:
    """A number of a table in full, with its interval, as a row of a file; its unit is in `measure`."""
    metric, runs = experiment.metric(measure), experiment.runs_of(arm)
    what = {"experiment": experiment.name, "part": experiment.part, "protocol": measure.protocol}
    of_arm = {"measure": metric.title, "arm": arm, "state": status(runs) or "finished", metric.axis.key: place}
    return what | of_arm | more | asdict(found)


def markdown_table(table: Table) -> str:
    """The table in GitHub's Markdown, the notes below it as a list."""
    sides = "---" if table.sentences else "---:"
    lines = [[escaped(name) for name in table.header], ["---"] + [sides] * (len(table.header) - 1)]
    for row in table.rows:
        lines.append([f"**{escaped(starred(cell))}**" if cell.best else _lines(starred(cell)) for cell in row])
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return body + "\n\n" + markdown_list(table.notes)


def _lines(text: str) -> str:
    """The lines of a cell, for Markdown."""
    return "<br>".join(map(escaped, text.split("\n")))


def markdown_list(sentences: list[str]) -> str:
    """Sentences as a list in Markdown, each on a line."""
    return "\n".join(f"- {escaped(one)}" for one in sentences) + "\n" * bool(sentences)


def thinned(places: list[float]) -> list[float]:
    """At most COLUMNS of the places, evenly spaced, the first and the last among them."""
    if len(places) <= COLUMNS:
        return places
    return [places[round(i * (len(places) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def _cell(found: Estimate | None, metric: Metric, state: str) -> Cell:
    if found is None:
        return Cell(NOT_EVALUATED)
    text = estimate_text(found, metric)
    return Cell(f"({text})" if state else text)


def estimate_text(found: Estimate, metric: Metric) -> str:
    """The number, over seeds with half of its interval, or with the interval itself if that is too lopsided."""
    if found.n_seeds == 1 or not math.isfinite(found.high):
        return metric.text(found.value)
    if metric.logarithmic and math.log(found.high / found.value) > LOPSIDED:
        return f"{metric.text(found.value)} [{metric.text(found.low)}, {metric.text(found.high)}]"
    return metric.text(found.value, (found.high - found.low) / 2)


def starred(cell: Cell) -> str:
    """The text of a cell, with an asterisk if it is marked and a dagger if it is the best."""
    return cell.text + "*" * cell.marked + BEST * cell.best


def escaped(text: str) -> str:
    """A text as it is, for GitHub's Markdown, at the beginning of a line as well."""
    text = re.sub(r"([\\|*_`<>\[\]{}#$&~])", r"\\\1", " ".join(text.split()))
    return re.sub(r"^(\d*)([-+.)])(?=[\s-]|$)", r"\1\\\2", text)  # no list, and no rule


def _mean_time(runs: list[Run], stage: str) -> str:
    times = [(run.info.get("seconds") or {}).get(stage) for run in runs]
    times = [time for time in times if time is not None]
    return seconds_text(statistics.fmean(times)) if times else NOT_EVALUATED
