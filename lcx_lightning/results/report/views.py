"""What a report shows: sections of runs that can be compared, in each the views of every measure, and notes once."""

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lcx_lightning.results.comparable import groups_of, parts_of
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.figures import length_figure
from lcx_lightning.results.report.heatmaps import depth_figure, k_max_table, task_table
from lcx_lightning.results.report.relative import reference_of, relative_table
from lcx_lightning.results.report.tables import Table, length_table

if TYPE_CHECKING:
    import altair


class View(NamedTuple):
    """One measure of runs that can be compared: the name of its figures' files, and its tables."""

    name: str
    measure: Measure
    experiment: Experiment
    tables: list[Table]


class Section(NamedTuple):
    """Runs of one base and one corpus: what they share, why others are not among them, their views, and the notes."""

    heading: str
    sentences: list[str]
    views: list[View]
    notes: list[str]


def sections_of(experiment: Experiment) -> list[Section]:
    """The sections of a report, one if all runs can be compared."""
    parts, why = parts_of(experiment)
    names, taken = figure_names(experiment.measures()), Counter[str]()
    sections = []
    for number, part in enumerate(parts):
        sentences, views = [why] if why and not number else [], []
        for measure in part.measures():
            groups, why_groups = groups_of(part, measure)
            sentences += [why_groups] if why_groups else []
            for group in groups:
                name = names.get(measure, measure.name)
                taken[name] += 1
                name += f"_{taken[name]}" if taken[name] > 1 else ""
                views.append(View(name, measure, group, tables_of(group, measure, reference_of(experiment, group))))
        sections.append(_with_notes_once(Section(part.part, sentences, views, [])))
    return sections


def tables_of(experiment: Experiment, measure: Measure, reference: str | None = None) -> list[Table]:
    """The table of arms by length, that relative to the reference, and those by task and of k_max if rows have such."""
    first = next(one for one in experiment.measures() if one.protocol == measure.protocol)
    found = [relative_table(experiment, measure, reference) if reference else None]
    found += [task_table(experiment, measure.protocol) if measure == first else None, k_max_table(experiment, measure)]
    return [length_table(experiment, measure), *(table for table in found if table)]


def figures_of(experiment: Experiment, measure: Measure) -> dict[str, "altair.TopLevelMixin"]:
    """Figures by the end of their file's name: the measure against length, and by length and depth if rows have depths.

    Raises:
        ValueError: If there is no finite number to draw.
    """
    found = {"": length_figure(experiment, measure), "_depth": depth_figure(experiment, measure)}
    return {name: figure for name, figure in found.items() if figure is not None}


def figure_names(measures: list[Measure]) -> dict[Measure, str]:
    """File name of each measure's figure, without its ending: "perplexity" for the first if it is one."""
    names = {m: ("perplexity_" if m.metric == "nll" else "") + re.sub(r"\W+", "_", m.name) for m in measures}
    return names | {m: "perplexity" for m in measures[:1] if m.metric == "nll"}


def _with_notes_once(section: Section) -> Section:
    """The section with the notes of several tables at its end, and those of one table with it."""
    counts = Counter(note for view in section.views for table in view.tables for note in dict.fromkeys(table.notes))
    shared = [note for note, count in counts.items() if count > 1]
    views = [
        view._replace(
            tables=[replace(table, notes=[note for note in table.notes if note not in shared]) for table in view.tables]
        )
        for view in section.views
    ]
    return section._replace(views=views, notes=shared)
