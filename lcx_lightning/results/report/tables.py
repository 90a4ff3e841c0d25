"""Tables of a measure, arms by context lengths: one representation, rendered for terminal, Markdown and page."""

import math
import statistics
from dataclasses import dataclass

from lcx_lightning.results.analysis.effective_context import effective_contexts
from lcx_lightning.results.analysis.estimates import Estimate, estimates
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
    train_lengths,
)
from lcx_lightning.results.report.notes import notes

COLUMNS = 12  # largest number of places
LOPSIDED = 0.2  # half-width in log perplexity from which "±" would mislead: exp(0.2) is +22%, exp(-0.2) is -18%


@dataclass(frozen=True)
class Cell:
    """One cell; marked if the column is the length that the arm was trained at."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """Header and rows of cells (the arm's name first), the title, and the notes that explain them."""

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str]


def length_table(experiment: Experiment, measure: Measure) -> Table:
    """Arms in the order of the grid, a column per length, the arm's mean time over seeds, and its fingerprint."""
    columns = thinned(measured_places(experiment, measure))
    found = estimates(experiment, measure)
    metric, effective = experiment.metric(measure), effective_contexts(experiment, measure)
    unit = pretrain_length(experiment)
    rows = []
    for arm in experiment.arms():
        runs = experiment.runs_of(arm)
        trained = train_lengths(runs) if metric.axis.is_length else set()
        cells = [_cell(found.get((arm, n)), metric, n in trained, status(runs)) for n in columns]
        times = [Cell(_mean_time(runs, stage)) for stage in ("extend", "evaluate")]
        holds = [Cell(effective[arm].text(unit) if arm in effective else NOT_EVALUATED)] if effective else []
        rows.append([Cell(arm_label(runs)), *cells, *holds, *times, Cell(fingerprint_text(runs))])
    holds = ["holds to"] if effective else []
    header = ["arm", *(place_header(experiment, measure, n) for n in columns), *holds, "train", "eval", "hash"]
    title = f"{experiment.name}: {described(experiment, measure)}"
    return Table(title, header, rows, notes(experiment, measure, found))


def terminal_table(table: Table):
    """The table as a rich.table.Table."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", caption_justify="left")
    rich.title = Text(table.title, style="bold")
    rich.caption = Text("\n".join(table.notes))
    for index, name in enumerate(table.header):
        name = Text(name.replace(" (", "\n("))
        rich.add_column(name, justify="right" if index else "left", no_wrap=not index, overflow="fold")
    starred = {index for row in table.rows for index, cell in enumerate(row) if cell.marked}
    for row in table.rows:
        row = [Cell(row[0].text.replace(" (", "\n(")), *row[1:]]
        texts = [_starred(cell) + " " * (i in starred and not cell.marked) for i, cell in enumerate(row)]
        rich.add_row(*(Text(text, "bold" if cell.marked else "") for text, cell in zip(texts, row, strict=True)))
    return rich


def markdown_table(table: Table) -> str:
    """The table in GitHub's Markdown, the notes below it as a list."""
    lines = [[_markdown(name) for name in table.header], ["---"] + ["---:"] * (len(table.header) - 1)]
    for row in table.rows:
        lines.append([f"**{_markdown(_starred(cell))}**" if cell.marked else _markdown(cell.text) for cell in row])
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return body + "\n\n" + "\n".join(f"- {_markdown(note)}" for note in table.notes) + "\n"


def thinned(places: list[float]) -> list[float]:
    """At most COLUMNS of the places, evenly spaced, the first and the last among them."""
    if len(places) <= COLUMNS:
        return places
    return [places[round(i * (len(places) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def _cell(found: Estimate | None, metric: Metric, marked: bool, state: str) -> Cell:
    if found is None:
        return Cell(NOT_EVALUATED)
    text = estimate_text(found, metric)
    return Cell(f"({text})" if state else text, marked)


def estimate_text(found: Estimate, metric: Metric) -> str:
    """The number, over seeds with half of its interval, or with the interval itself if that is too lopsided."""
    if found.n_seeds == 1 or not math.isfinite(found.high):
        return metric.text(found.value)
    if metric.logarithmic and math.log(found.high / found.value) > LOPSIDED:
        return f"{metric.text(found.value)} [{metric.text(found.low)}, {metric.text(found.high)}]"
    return metric.text(found.value, (found.high - found.low) / 2)


def _starred(cell: Cell) -> str:
    return cell.text + "*" if cell.marked else cell.text


def _markdown(text: str) -> str:
    for character in "\\|*_`<>[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def _mean_time(runs: list[Run], stage: str) -> str:
    times = [(run.info.get("seconds") or {}).get(stage) for run in runs]
    times = [time for time in times if time is not None]
    return seconds_text(statistics.fmean(times)) if times else NOT_EVALUATED
