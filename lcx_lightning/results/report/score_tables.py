"""Scores by task, and Position Interpolation's k_max, as tables."""

from collections import defaultdict
from dataclasses import replace
from typing import NamedTuple

from lcx_lightning.results.analysis.best import best_arm
from lcx_lightning.results.analysis.estimates import Estimate, arm_rows, estimate
from lcx_lightning.results.analysis.k_max import k_max
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.labels import NOT_EVALUATED, arm_label, length_header, status, titled
from lcx_lightning.results.report.tables import BEST_NOTE, Cell, Table, number_of

Place = tuple[int, str]  # context length and task


class _Score(NamedTuple):
    """The score of an arm at a place: of the task's first metric."""

    measure: Measure
    rows: list[dict]
    estimate: Estimate


def k_max_table(experiment: Experiment, measure: Measure) -> Table | None:
    """k_max by arm and context length, over all seeds together; None if rows have no distance."""
    found: dict[tuple[str, int], int] = {}
    for arm in experiment.arms() if experiment.metric(measure).trials else ():
        rows = arm_rows(experiment, arm, measure)
        for length in {row["context_length"] for row in rows}:
            reached = k_max([row for row in rows if row["context_length"] == length])
            if reached is not None:
                found[arm, length] = reached
    if not found:
        return None
    columns = sorted({length for _, length in found})
    rows = [
        [Cell(arm_label(experiment.runs_of(arm))), *(Cell(f"{found.get((arm, n), NOT_EVALUATED)}") for n in columns)]
        for arm in experiment.arms()
    ]
    note = (
        "The largest distance to the end, in tokens, up to which a fifth of the trials at every distance succeed. A "
        "distance that falls on the question or the opening is that of the nearest place in the text."
    )
    title, header = titled(experiment, f"k_max of {measure.protocol}"), [length_header(experiment, n) for n in columns]
    numbers = [
        {"experiment": experiment.name, "part": experiment.part, "protocol": measure.protocol, "measure": "k_max"}
        | {"arm": arm, "context_length": length, "value": reached}
        for (arm, length), reached in found.items()
    ]
    return Table(title, ["arm", *header], rows, [note], end="_k_max", numbers=numbers)


def task_table(experiment: Experiment, protocol: str) -> Table | None:
    """Scores by arm, length and task, and their mean over tasks; None if rows are not of several tasks."""
    every = {arm: _scored(experiment, arm, protocol) for arm in experiment.arms()}
    tasks = list(dict.fromkeys(task for scored in every.values() for _, task in scored))
    if len(tasks) < 2:
        return None
    best, lines = _best(experiment, every), []
    for arm, scored in every.items():
        for length in sorted({length for length, _ in scored}):
            found = [scored[length, task].estimate.value for task in tasks if (length, task) in scored]
            cells = [replace(_cell(scored.get((length, task))), best=best.get((length, task)) == arm) for task in tasks]
            mean = f"{sum(found) / len(found):.1f}" if len(found) == len(tasks) else NOT_EVALUATED
            lines.append([Cell(f"{arm_label(experiment.runs_of(arm))}, {length}"), *cells, Cell(mean)])
    titles = sorted({experiment.metric(one.measure).title for scored in every.values() for one in scored.values()})
    explained = [f"Scores: {', '.join(titles)}. The mean is that of the tasks, whatever their numbers of examples."]
    explained += [BEST_NOTE.replace("of a column", "of a column at a length")] * bool(best)
    numbers = [
        number_of(experiment, one.measure, arm, place[0], one.estimate, task=place[1], best=best.get(place) == arm)
        for arm, scored in every.items()
        for place, one in scored.items()
    ]
    title = titled(experiment, f"{protocol} by task")
    return Table(title, ["arm, length", *tasks, "mean"], lines, explained, end="_tasks", numbers=numbers)


def _cell(found: _Score | None) -> Cell:
    return Cell(f"{found.estimate.value:.1f}" if found else NOT_EVALUATED)


def _scored(experiment: Experiment, arm: str, protocol: str) -> dict[Place, _Score]:
    """The scores of an arm by length and task: of every task that of its first metric."""
    found: dict[Place, _Score] = {}
    first: dict[str, str] = {}
    for measure in experiment.measures():
        metric, cells = experiment.metric(measure), defaultdict[Place, list[dict]](list)
        if measure.protocol == protocol and metric.better == "higher":
            for row in arm_rows(experiment, arm, measure):
                task = row["at"].get("task")
                if task is not None and first.setdefault(task, measure.metric) == measure.metric:
                    cells[row["context_length"], task].append(row)
        found |= {place: _Score(measure, rows, estimate(rows, metric)) for place, rows in cells.items()}
    return found


def _best(experiment: Experiment, every: dict[str, dict[Place, _Score]]) -> dict[Place, str]:
    """The best of the arms that have finished by length and task, where it can be told."""
    finished = {arm: scored for arm, scored in every.items() if not status(experiment.runs_of(arm))}
    found: dict[Place, str] = {}
    for place in {place for scored in finished.values() for place in scored}:
        some = {arm: scored[place] for arm, scored in finished.items() if place in scored}
        measures = {one.measure for one in some.values()}
        metric = experiment.metric(next(iter(measures)))
        best = best_arm({arm: one.rows for arm, one in some.items()}, metric) if len(measures) == 1 else None
        found |= {place: best} if best else {}
    return found
