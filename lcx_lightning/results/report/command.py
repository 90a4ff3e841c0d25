"""Report of a results folder: tables in the terminal, figures and a page on disk. Reads records only."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lcx_lightning.results.report.screen import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from lcx_lightning.results.records import Experiment
    from lcx_lightning.results.report.tables import Table
    from lcx_lightning.results.report.views import Section, View


def report(
    folder: Path,
    console: "Console",
    *,
    redraw: bool = True,
    against: str | None = None,
    claims: "Callable[[Experiment], Sequence[Table]] | None" = None,
) -> list[Path]:
    """Print the tables and what to look for; write figures and page into the folder and return their paths.

    Args:
        folder: Folder of the experiment.
        console: Where the tables are printed.
        redraw: Whether figures and page are made anew where they show these records already.
        against: Arm that the others are compared with. None: that of report.against, else the untouched model.
        claims: Tables of verdicts on claims, from the runs, for the page.

    Raises:
        ValueError: If the folder holds no runs, or no arm has that name.
    """
    from lcx_lightning.results.report.dashboard.page import PAGE, is_current, write_page
    from lcx_lightning.results.report.views import sections_of

    experiment = read_folders([folder], against)
    sections = sections_of(experiment)
    for section in sections:
        _print(section, console)
    for sentence in experiment.meta.get("look_for") or ():
        console.print(f"- {sentence}", highlight=False)
    page = folder / PAGE
    if not redraw and is_current(experiment, page):
        return [*sorted([*folder.glob("*.svg"), *folder.glob("*.png")]), page]
    drawn = [path for section in sections for view in section.views for path in _drawn(view, folder, console)]
    return [*drawn, write_page(experiment, page, sections, claims=claims(experiment) if claims else ())]


def write_dashboard(
    places: "Sequence[Path]",
    page: Path,
    *,
    against: str | None = None,
    claims: "Callable[[Experiment], Sequence[Table]] | None" = None,
    refresh: int = 0,
) -> Path:
    """Write one page of the results in several places, and return its path.

    Args:
        places: Run folders, experiments, archives, and folders above them.
        page: The file; one that is there must be such a page.
        against: Arm that the others are compared with. None: the untouched model.
        claims: Tables of verdicts on claims, from the runs.
        refresh: Seconds after which a page that is open is read again; 0: never.

    Raises:
        ValueError: If a place holds no results, no arm has that name, or the file is none of ours.
    """
    from lcx_lightning.results.records import joined
    from lcx_lightning.results.report.dashboard.page import check_output, write_page
    from lcx_lightning.results.report.views import sections_of
    from lcx_lightning.results.sources import experiments_at

    check_output(page)
    sources = experiments_at(places)
    experiment = _against(joined(sources), against)
    found = claims(experiment) if claims else ()
    return write_page(experiment, page, sections_of(experiment), sources=sources, claims=found, refresh=refresh)


def export(experiment: "Experiment", figures: Path | None, tables: Path | None, console: "Console") -> list[Path]:
    """Write figures and tables for a paper into folders, where these are given, and return the paths of the files.

    Raises:
        ValueError: If a file in a folder is in the way.
    """
    from lcx_lightning.results.report.exports import export_figures, export_tables
    from lcx_lightning.results.report.views import sections_of

    views = [view for section in sections_of(experiment, notes_once=False) for view in section.views]
    by_name = {f"{view.name}{table.end}": table for view in views for table in view.tables}
    paths = export_tables(by_name, tables, experiment.name) if tables else []
    drawn, missing = export_figures(views, figures, experiment.name) if figures else ([], [])
    for sentence in missing:
        say(console, sentence)
    return [*paths, *drawn]


def read_folders(places: "Sequence[Path]", against: str | None = None) -> "Experiment":
    """The runs of all places as one experiment, which are compared with an arm of that name, if any.

    Args:
        places: Run folders, experiments, archives, and folders above them.
        against: Name of an arm.

    Raises:
        ValueError: If a place holds no runs, or no arm has that name.
    """
    from lcx_lightning.results.records import joined
    from lcx_lightning.results.sources import experiments_at

    found = experiments_at(places)
    return _against(joined(found) if len(found) > 1 else found[0], against)


def _against(experiment: "Experiment", against: str | None) -> "Experiment":
    """The experiment, whose arms are compared with the one of that name."""
    from lcx_lightning.results.report.relative import check_against

    if against is None:
        return experiment
    check_against(against, experiment.arms())
    return replace(experiment, meta=experiment.meta | {"against": against})


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


def markdown(folder: Path, against: str | None = None) -> str:
    """The tables of all measures in Markdown, and the notes that they share at the end of each section."""
    from lcx_lightning.results.report.tables import escaped, markdown_list, markdown_table
    from lcx_lightning.results.report.views import sections_of

    texts = []
    for section in sections_of(read_folders([folder], against)):
        texts += [f"{escaped(sentence)}\n" for sentence in section.sentences]
        texts += [
            f"{escaped(table.title)}\n\n{markdown_table(table)}" for view in section.views for table in view.tables
        ]
        texts += [markdown_list(section.notes)] if section.notes else []
    return "\n".join(texts)
