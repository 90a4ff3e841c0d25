"""Tables of a measure, arms by context lengths: one representation, rendered for terminal, Markdown and page."""

import math
import statistics
from dataclasses import dataclass

from lcx_lightning.results.effective import RULER_SCORE, TOLERANCE, effective_contexts, is_full_ruler
from lcx_lightning.results.metrics import OF_LENGTH, Measure, Metric, metric, place_of
from lcx_lightning.results.records import Experiment, Run
from lcx_lightning.results.statistics import Estimate, arm_rows, estimates

PROTOCOLS = {
    "last_k": "the same last tokens of each document, under growing context",
    "whole_window": "all tokens of windows of this length",
}
NOT_EVALUATED = "\N{EN DASH}"
COLUMNS = 12  # of places, at most
HASH = 6  # characters of a fingerprint in the table: two of 100 methods share them by accident once in 3,000 tables
LOPSIDED = 0.2  # half-width in log perplexity from which "±" would mislead: exp(0.2) is +22%, exp(-0.2) is -18%


@dataclass(frozen=True)
class Cell:
    """One cell; marked where the column is the length the arm was trained at."""

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
    how, effective = metric(measure.metric), effective_contexts(experiment, measure)
    unit = pretrain_length(experiment)
    rows = []
    for arm in experiment.arms():
        runs = experiment.runs_of(arm)
        trained = train_lengths(runs) if measure.axis in OF_LENGTH else set()
        cells = [_cell(found.get((arm, n)), how, n in trained, status(runs)) for n in columns]
        times = [Cell(_mean_time(runs, stage)) for stage in ("extend", "evaluate")]
        holds = [Cell(effective[arm].text(unit) if arm in effective else NOT_EVALUATED)] if effective else []
        rows.append([Cell(arm_label(runs)), *cells, *holds, *times, Cell(fingerprint_text(runs))])
    holds = ["holds to"] if effective else []
    header = ["arm", *(place_header(experiment, measure, n) for n in columns), *holds, "train", "eval", "hash"]
    title = f"{experiment.name}: {described(measure)}"
    return Table(title, header, rows, _notes(experiment, measure, found))


def described(measure: Measure) -> str:
    """What a measure is of, in words: "perplexity of all tokens of windows of this length"."""
    return f"{metric(measure.metric).title} of {PROTOCOLS.get(measure.protocol, measure.protocol)}"


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


def lengths(experiment: Experiment) -> list[int]:
    """Every context length that a run evaluated, was to evaluate, or says it cannot evaluate; ascending."""
    found = {row["context_length"] for run in experiment.runs for row in run.rows}
    for run in experiment.runs:
        found.update(run.info.get("lengths") or (), map(int, run.info.get("not_evaluated") or ()))
    return sorted(found)


def measured_places(experiment: Experiment, measure: Measure) -> list[int]:
    """The places that any arm has of a measure, on its axis; all lengths of the experiment where none has any yet."""
    rows = [row for arm in experiment.arms() for row in arm_rows(experiment, arm, measure)]
    return sorted({place_of(row) for row in rows}) or lengths(experiment)


def thinned(places: list[int]) -> list[int]:
    """At most COLUMNS of the places, as far apart as can be, the first and the last among them."""
    if len(places) <= COLUMNS:
        return places
    return [places[round(i * (len(places) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def place_header(experiment: Experiment, measure: Measure, place: int) -> str:
    """A place on the axis of a measure; a length or a position with its multiple of L."""
    return (
        length_header(experiment, place) if measure.axis in OF_LENGTH else f"{measure.axis.replace('_', ' ')} {place}"
    )


def pretrain_length(experiment: Experiment) -> int | None:
    """The one pretraining length of all arms, None where they differ or do not say."""
    found = {run.info.get("pretrain_length") for run in experiment.runs}
    return found.pop() if len(found) == 1 else None


def train_lengths(runs: list[Run]) -> set[int]:
    """Lengths the runs were trained at; empty for a zero-shot arm."""
    return {run.info["train_length"] for run in runs if run.info.get("train_length")}


def status(runs: list[Run]) -> str:
    """Empty where a run of the arm has finished, else the state of its first run."""
    return "" if any(run.finished for run in runs) else runs[0].info.get("state", "unfinished")


def arm_label(runs: list[Run]) -> str:
    """The arm's name, with its state where no run has finished."""
    return f"{runs[0].arm} ({status(runs)})" if status(runs) else runs[0].arm


def fingerprint_text(runs: list[Run]) -> str:
    """The start of the arm's fingerprint; "differ" where its seeds do not agree, a dash where they have none."""
    found = {run.info["fingerprint"][:HASH] for run in runs if run.info.get("fingerprint")}
    return NOT_EVALUATED if not found else found.pop() if len(found) == 1 else "differ"


def seconds_text(seconds: float) -> str:
    """Rounded for reading: "0.4 s", "35 s", "6.8 min", "2.3 h"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if 0 < seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


def length_header(experiment: Experiment, length: int) -> str:
    """A length with its multiple of L, where the arms share one."""
    pretrained = pretrain_length(experiment)
    return f"{length} ({length / pretrained:.3g}L)" if pretrained else str(length)


def _cell(found: Estimate | None, how: Metric, marked: bool, state: str) -> Cell:
    if found is None:
        return Cell(NOT_EVALUATED)
    text = estimate_text(found, how)
    return Cell(f"({text})" if state else text, marked)


def estimate_text(found: Estimate, how: Metric) -> str:
    """The number, over seeds with half of its interval, or with the interval itself where that is too lopsided."""
    if found.n_seeds == 1 or not math.isfinite(found.high):
        return how.text(found.value, None)
    if how.logarithmic and math.log(found.high / found.value) > LOPSIDED:
        return f"{how.text(found.value, None)} [{how.text(found.low, None)}, {how.text(found.high, None)}]"
    return how.text(found.value, (found.high - found.low) / 2)


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


def _notes(experiment: Experiment, measure: Measure, found: dict[tuple[str, int], Estimate]) -> list[str]:
    notes = [_marks_note(experiment, measure), _spread_note(found, metric(measure.metric))]
    notes += [_counts_note(experiment, measure), _effective_note(experiment, measure)]
    notes += [_times_note(experiment), _fingerprint_note(experiment)]
    return [note for note in notes if note] + _absent_notes(experiment) + _state_notes(experiment)


def _marks_note(experiment: Experiment, measure: Measure) -> str:
    if measure.axis not in OF_LENGTH:
        return "At the longest context that was evaluated."
    trained = {arm: train_lengths(experiment.runs_of(arm)) for arm in experiment.arms()}
    if not any(trained.values()):
        return "No arm was trained: every method is used zero-shot."
    shown = set(measured_places(experiment, measure))
    missing = [f"{arm} at {n}" for arm, ns in trained.items() for n in sorted(ns - shown)]
    other = f" Trained at a length without a column: {', '.join(missing)}." if missing else ""
    return "* marks the length the arm was trained at; an arm without one was not trained (zero-shot)." + other


def _spread_note(found: dict[tuple[str, int], Estimate], how: Metric) -> str:
    n_seeds = max((estimate.n_seeds for estimate in found.values()), default=0)
    if n_seeds < 2:
        return "One seed, so no spread over seeds." if n_seeds else ""
    if not how.logarithmic:
        return f"Mean over {n_seeds} seeds ± half of the 95% t interval over seeds."
    return (
        f"Geometric mean over {n_seeds} seeds ± half of the 95% t interval over seeds, which is computed in log "
        "perplexity; where it is too lopsided for ±, the interval itself is given."
    )


def _counts_note(experiment: Experiment, measure: Measure) -> str:
    counts: dict[tuple, list] = {}
    for arm in experiment.arms():
        for row in arm_rows(experiment, arm, measure):
            documents = counts.setdefault((arm, row["seed"], place_of(row)), [set(), 0])
            documents[0].add((row.get("dataset"), row["document"]))
            documents[1] += row["n"]
    if not counts:
        return ""
    documents = _span(len(found) for found, _ in counts.values())
    if measure.metric != "nll":
        return f"Each number, per seed: {documents} {'examples' if metric(measure.metric).better else 'documents'}."
    return f"Each number, per seed: {documents} documents, {_span(n for _, n in counts.values())} tokens scored."


def _effective_note(experiment: Experiment, measure: Measure) -> str:
    if not effective_contexts(experiment, measure):
        return ""
    every = [row for arm in experiment.arms() for row in arm_rows(experiment, arm, measure)]
    if is_full_ruler(every, measure):
        return f"holds to: the longest context up to which the score over all tasks is {RULER_SCORE} or more (RULER)."
    worse = "higher" if metric(measure.metric).better == "lower" else "lower"
    return (
        f"holds to: the longest context, of those evaluated, up to which {metric(measure.metric).title} is at most "
        f"{TOLERANCE:.0%} {worse} than the arm's own at L; in brackets where all, and any, of the 95% interval is."
    )


def _span(numbers) -> str:
    numbers = sorted(numbers)
    return f"{numbers[0]:,}" if numbers[0] == numbers[-1] else f"{numbers[0]:,} to {numbers[-1]:,}"


def _times_note(experiment: Experiment) -> str:
    bases = [run.info.get("base") or {} for run in experiment.runs]
    seconds = {base.get("key"): base["seconds"] for base in bases if base.get("seconds")}
    times = "train and eval are times per seed"
    if not seconds:
        return f"{times}."
    mean = seconds_text(statistics.fmean(seconds.values()))
    average = f" (mean of {len(seconds)}, one per seed)" if len(seconds) > 1 else ""
    return f"{times}; training the base model, which the arms share, took {mean}{average} before that."


def _fingerprint_note(experiment: Experiment) -> str:
    if all(fingerprint_text(experiment.runs_of(arm)) == NOT_EVALUATED for arm in experiment.arms()):
        return ""
    return (
        "hash is the start of the method's fingerprint, of its frequencies, temperature, positions and visible pairs: "
        "arms that share it do the same before training."
    )


def _absent_notes(experiment: Experiment) -> list[str]:
    absent: dict[str, dict[str, set[int]]] = {}
    for run in experiment.runs:
        for length, reason in (run.info.get("not_evaluated") or {}).items():
            absent.setdefault(reason, {}).setdefault(run.arm, set()).add(int(length))
    notes = []
    for reason, arms in absent.items():
        where = "; ".join(f"{arm} at {', '.join(map(str, sorted(ns)))}" for arm, ns in arms.items())
        notes.append(f"{NOT_EVALUATED} {where}: {reason}")
    return notes


def _state_notes(experiment: Experiment) -> list[str]:
    unfinished: dict[tuple[str, str, str], list[Run]] = {}
    for run in experiment.runs:
        if not run.finished:
            key = (run.arm, run.info.get("state", "unfinished"), run.info.get("reason") or "no reason recorded")
            unfinished.setdefault(key, []).append(run)
    notes = []
    for (arm, state, reason), runs in unfinished.items():
        seeds = ", ".join(str(run.info["seed"]) for run in runs)
        use = "in parentheses" if status(experiment.runs_of(arm)) else "left out"
        rows = f" (its numbers so far: {use})" if any(run.rows for run in runs) else ""
        notes.append(f"{arm}, seed {seeds}: {state}{rows}: {reason}")
    return notes
