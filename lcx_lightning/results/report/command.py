"""Report of a results folder: tables in the terminal, figures and a page on disk. Reads records only."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lcx_lightning.results.report.screen import say

if TYPE_CHECKING:
    from rich.console import Console

    from lcx_lightning.results.records import Experiment
    from lcx_lightning.results.report.views import Section, View


def report(folder: Path, console: "Console", *, redraw: bool = True, against: str | None = None) -> list[Path]:
    """Print the tables and what to look for; write figures and page into the folder and return their paths.

    Args:
        folder: Folder of the experiment.
        console: Where the tables are printed.
        redraw: Whether figures and page are made anew where they show these records already.
        against: Arm that the others are compared with. None: that of report.against, else the untouched model.

    Raises:
        ValueError: If the folder holds no runs, or no arm has that name.
    """
    from lcx_lightning.results.report.page import PAGE, is_current, write_page
    from lcx_lightning.results.report.views import sections_of

    experiment, _ = _read(folder, against)
    sections = sections_of(experiment)
    for section in sections:
        _print(section, console)
    for sentence in experiment.meta.get("look_for") or ():
        console.print(f"- {sentence}", highlight=False)
    if not redraw and is_current(experiment, folder):
        return [*sorted([*folder.glob("*.svg"), *folder.glob("*.png")]), folder / PAGE]
    drawn = {view.name: _drawn(view, folder, console) for section in sections for view in section.views}
    figures = {name: [path.read_text() for path in paths if path.suffix == ".svg"] for name, paths in drawn.items()}
    return [*(path for paths in drawn.values() for path in paths), write_page(experiment, folder, sections, figures)]


def _read(place: Path, against: str | None) -> tuple["Experiment", list[str]]:
    """What is at a place, and what is missing there."""
    from lcx_lightning.results.places import read_places
    from lcx_lightning.results.records import joined
    from lcx_lightning.results.report.relative import check_against

    experiments, missing = read_places([place])
    experiment = joined(experiments)
    if against is None:
        return experiment, missing
    check_against(against, experiment.arms())
    return replace(experiment, meta=experiment.meta | {"against": against}), missing


def _print(section: "Section", console: "Console") -> None:
    """Print the tables of a section, and the notes that they share once."""
    from lcx_lightning.results.report.terminal import TerminalTable, fitting

    for sentence in section.sentences:
        console.print(f"{sentence}\n", highlight=False)
    tables = [table for view in section.views for table in view.tables]
    for table in fitting(tables, console.width, section.about):
        console.print(TerminalTable(table))
    for note in section.notes:
        console.print(note, highlight=False)
    console.print()


def _drawn(view: "View", folder: Path, console: "Console") -> list[Path]:
    """The files of a view's figures; none where there is no finite number to draw, which is said."""
    from lcx_lightning.results.report.figures import save
    from lcx_lightning.results.report.views import figures_of

    try:
        charts = figures_of(view.experiment, view.measure)
    except ValueError as error:  # every arm diverged: the table says so
        say(console, f"No figure: {error}")
        return []
    return [path for end, chart in charts.items() for path in save(chart, folder, view.name + end)]


def markdown(place: Path, against: str | None = None) -> str:
    """The tables of all measures in Markdown, notes that they share after each section, and at the end what is missing.

    Args:
        place: Folder or archive of an experiment, or a project of W&B.
        against: Arm that the others are compared with. None: that of report.against, else the untouched model.
    """
    from lcx_lightning.results.report.tables import escaped, markdown_list, markdown_table
    from lcx_lightning.results.report.views import sections_of

    texts, (experiment, missing) = [], _read(place, against)
    for section in sections_of(experiment):
        texts += [f"{escaped(sentence)}\n" for sentence in section.sentences]
        texts += [
            f"{escaped(table.title)}\n\n{markdown_table(table)}" for view in section.views for table in view.tables
        ]
        texts += [markdown_list(section.notes)] if section.notes else []
    texts += [markdown_list(missing)] if missing else []
    return "\n".join(texts)
