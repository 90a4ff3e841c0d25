"""What a report shows: sections of runs that can be compared, in each the views of every measure, and notes once."""

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lcx_lightning.results.comparable import groups_of, parts_of
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.figures import length_figure
from lcx_lightning.results.report.heatmaps import depth_figure
from lcx_lightning.results.report.labels import titled
from lcx_lightning.results.report.relative import UNTOUCHED, reference_of, relative_table
from lcx_lightning.results.report.score_tables import k_max_table, task_table
from lcx_lightning.results.report.tables import Table, length_table

if TYPE_CHECKING:
    import altair

FIGURES = {"": length_figure, "_depth": depth_figure}  # by the end of their file's name


class View(NamedTuple):
    """One measure of runs that can be compared: the name of its figures' files, and its tables."""

    name: str
    measure: Measure
    experiment: Experiment
    tables: list[Table]


class Section(NamedTuple):
    """Runs of one base and one corpus: what they share, why others are not among them, their views, and the notes."""

    heading: str
    about: str  # title of a table of what is about the arms
    sentences: list[str]
    views: list[View]
    notes: list[str]


def sections_of(experiment: Experiment, notes_once: bool = True) -> list[Section]:
    """The sections of a report, one if all runs can be compared.

    `notes_once`: the notes that several tables share are those of the section, and no longer of the tables.
    """
    split, names, taken = parts_of(experiment), figure_names(experiment.measures()), Counter[str]()
    sections = []
    for part in split.parts:
        views: list[View] = []
        apart: dict[tuple[str, str], list[str]] = {}  # protocols by what splits them, and why
        for measure in part.measures():
            groups = groups_of(part, measure)
            if groups.words:
                apart.setdefault((groups.words, groups.why), []).append(measure.protocol)
            for group in groups.parts:
                name = names.get(measure, measure.name)
                taken[name] += 1
                name += f"_{taken[name]}" if taken[name] > 1 else ""
                views.append(View(name, measure, group, tables_of(group, measure, reference_of(experiment, group))))
        sentences = [f"Split {split.words}: {split.why}."] if split.words and not sections else []
        for (words, why), protocols in apart.items():
            sentences.append(f"Split of {', '.join(dict.fromkeys(protocols))} {words}: {why}.")
        title = titled(part, "times and fingerprints of the arms")
        section = Section(part.part, title, sentences, views, [])
        sections.append(_with_notes_once(section) if notes_once else section)
    return sections


def tables_of(experiment: Experiment, measure: Measure, reference: str | None = None) -> list[Table]:
    """The table of arms by length, that relative to the reference, and those by task and of k_max if rows have such."""
    first = next(one for one in experiment.measures() if one.protocol == measure.protocol)
    found = [relative_table(experiment, measure, reference)] if reference else []
    found += [task_table(experiment, measure.protocol) if measure == first else None, k_max_table(experiment, measure)]
    table, against = length_table(experiment, measure), experiment.meta.get("against")
    if not reference and experiment.metric(measure).better:
        said = f"Nothing is compared with {against or UNTOUCHED}, which is not among these arms"
        said += f", {experiment.part}." if experiment.part else "."
        table = replace(table, notes=[*table.notes, said])
    return [table, *(one for one in found if one)]


def figures_of(experiment: Experiment, measure: Measure) -> dict[str, "altair.TopLevelMixin"]:
    """Figures by the end of their file's name: the measure against length, and by length and depth if rows have depths.

    Raises:
        ValueError: If there is no finite number to draw.
    """
    found = {end: figure(experiment, measure) for end, figure in FIGURES.items()}
    return {end: figure for end, figure in found.items() if figure is not None}


def figure_names(measures: list[Measure]) -> dict[Measure, str]:
    """File name of each measure's figure, without its ending: "perplexity" for the first if it is one."""
    names = {m: ("perplexity_" if m.metric == "nll" else "") + re.sub(r"\W+", "_", m.name) for m in measures}
    return names | {m: "perplexity" for m in measures[:1] if m.metric == "nll"}


def _with_notes_once(section: Section) -> Section:
    """The section with the notes of several tables at its end; what is of some tables' numbers stays with them."""
    tables = [table for view in section.views for table in view.tables]
    counts = Counter(note for table in tables for note in table.notes)
    alike = Counter(table.own for table in tables)
    shared = list(dict.fromkeys(
        note for table in tables for note in table.notes
        if counts[note] > 1 and (not note.startswith(table.own) or counts[note] == alike[table.own])
    ))  # fmt: skip
    views = []
    for view in section.views:
        own = [replace(table, notes=[note for note in table.notes if note not in shared]) for table in view.tables]
        views.append(view._replace(tables=own))
    return section._replace(views=views, notes=shared)
