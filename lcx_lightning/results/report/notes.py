"""The notes below a table: what its numbers mean, and what is missing and why."""

import statistics
from collections.abc import Mapping

from lcx_lightning.results.analysis.effective_context import RULER_SCORE, TOLERANCE, EffectiveContext, is_full_ruler
from lcx_lightning.results.analysis.estimates import Estimate, arm_rows
from lcx_lightning.results.metrics import Measure, Metric
from lcx_lightning.results.records import Experiment, Run
from lcx_lightning.results.report.labels import (
    NOT_EVALUATED,
    fingerprint_text,
    measured_places,
    seconds_text,
    status,
    train_lengths,
)

OF_NUMBERS = (
    "At the longest",
    "One seed",
    "Seeds differ",
    "Mean over",
    "Geometric mean",
    "Each number",
)  # how these notes begin


def notes(
    experiment: Experiment,
    measure: Measure,
    found: dict[tuple[str, float], Estimate],
    effective: Mapping[str, EffectiveContext],
) -> list[str]:
    """Return sentences that explain the table of a measure: marks, intervals, counts, times, and what is missing."""
    written = [_marks_note(experiment, measure), _spread_note(found, experiment.metric(measure))]
    written += [_seeds_note(experiment, measure)]
    written += [_counts_note(experiment, measure), _effective_note(experiment, measure, effective)]
    written += [_times_note(experiment), _fingerprint_note(experiment)]
    return [note for note in written if note] + _absent_notes(experiment) + _state_notes(experiment)


def _marks_note(experiment: Experiment, measure: Measure) -> str:
    if not experiment.metric(measure).axis.is_length:
        return "At the longest context that was evaluated."
    trained = {arm: train_lengths(experiment.runs_of(arm)) for arm in experiment.arms()}
    if not any(trained.values()):
        return "No arm was trained: every method is used zero-shot."
    shown = set(measured_places(experiment, measure))
    missing = [f"{arm} at {n}" for arm, ns in trained.items() for n in sorted(ns - shown)]
    other = f" Trained at a length without a column: {', '.join(missing)}." if missing else ""
    return "* marks the length the arm was trained at; an arm without one was not trained (zero-shot)." + other


def _spread_note(found: dict[tuple[str, float], Estimate], metric: Metric) -> str:
    n_seeds = max((estimate.n_seeds for estimate in found.values()), default=0)
    if n_seeds < 2:
        return "One seed an arm, so no spread over seeds." if n_seeds else ""
    if not metric.logarithmic:
        return f"Mean over {n_seeds} seeds ± half of the 95% t interval over seeds."
    return (
        f"Geometric mean over {n_seeds} seeds ± half of the 95% t interval over seeds, which is computed in log "
        "perplexity; where it is too lopsided for ±, the interval itself is given."
    )


def _seeds_note(experiment: Experiment, measure: Measure) -> str:
    """A sentence where arms are of unlike seeds, whose bases differ before any method does."""
    seeds: dict[tuple[int, ...], list[str]] = {}
    for arm in experiment.arms():
        found = tuple(sorted({row["seed"] for row in arm_rows(experiment, arm, measure)}))
        seeds.setdefault(found, []).append(arm)
    seeds.pop((), None)
    if len(seeds) < 2:
        return ""
    said = "; ".join(f"{', '.join(arms)}: {', '.join(map(str, found))}" for found, arms in seeds.items())
    return f"Seeds differ, and with them what the arms extend: compare arms on the seeds that they share. {said}."


def _counts_note(experiment: Experiment, measure: Measure) -> str:
    counts: dict[tuple, list] = {}
    metric = experiment.metric(measure)
    for arm in experiment.arms():
        for row in arm_rows(experiment, arm, measure):
            documents = counts.setdefault((arm, row["seed"], metric.place(row)), [set(), 0])
            documents[0].add((row.get("dataset"), row["document"]))
            documents[1] += row["n"]
    if not counts:
        return ""
    documents = _span(len(found) for found, _ in counts.values())
    if metric.display != "perplexity":
        return f"Each number, per seed: {documents} {'examples' if metric.better else 'documents'}."
    return f"Each number, per seed: {documents} documents, {_span(n for _, n in counts.values())} tokens scored."


def _effective_note(experiment: Experiment, measure: Measure, found: Mapping[str, EffectiveContext]) -> str:
    if not found:
        return ""
    none = " <1L: at L itself there is nothing that could hold." if any(not e.length for e in found.values()) else ""
    every = [row for arm in experiment.arms() for row in arm_rows(experiment, arm, measure)]
    if is_full_ruler(every, measure):
        return (
            f"holds to: the longest context up to which the score of all tasks is {RULER_SCORE} or more (RULER).{none}"
        )
    metric = experiment.metric(measure)
    worse = "higher" if metric.better == "lower" else "lower"
    return (
        f"holds to: the longest context, of those evaluated, up to which {metric.title} is at most "
        f"{TOLERANCE:.0%} {worse} than the arm's own at L; in brackets where all, and any, of the 95% interval is."
        f"{none}"
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
