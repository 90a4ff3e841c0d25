"""Report of a results folder: tables in the terminal, figures and a page on disk. Reads records only."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lcx_lightning.results.report.screen import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from lcx_lightning.results.faults import Fault
    from lcx_lightning.results.records import Experiment
    from lcx_lightning.results.report.dashboard.masks import Masks
    from lcx_lightning.results.report.dashboard.page import Extras
    from lcx_lightning.results.report.tables import Table
    from lcx_lightning.results.report.views import Section, View


def report(
    folder: Path,
    console: "Console",
    *,
    redraw: bool = True,
    against: str | None = None,
    claims: "Callable[[Experiment], Sequence[Table]] | None" = None,
    masks: "Masks | None" = None,
) -> list[Path]:
    """Print the tables and what to look for; write figures and page into the folder and return their paths.

    Args:
        folder: Folder of the experiment.
        console: Where the tables are printed.
        redraw: Whether figures and page are made anew where they show these records already.
        against: Arm that the others are compared with. None: that of report.against, else the untouched model.
        claims: Tables of verdicts on claims, from the runs, for the page.
        masks: Masks of the arms' patterns, for the page.

    Raises:
        ValueError: If the folder holds no runs, or no arm has that name.
    """
    from lcx_lightning.results.report.dashboard.page import PAGE, is_current, write_page
    from lcx_lightning.results.report.views import sections_of

    experiment = read_results([folder], against, whole=True).experiment
    sections = sections_of(experiment)
    for section in sections:
        _print(section, console)
    for sentence in experiment.meta.get("look_for") or ():
        console.print(f"- {sentence}", highlight=False)
    page = folder / PAGE
    if not redraw and is_current(experiment, page):
        return [*sorted([*folder.glob("*.svg"), *folder.glob("*.png")]), page]
    drawn = [path for section in sections for view in section.views for path in _drawn(view, folder, console)]
    return [*drawn, write_page(experiment, page, sections, extras=_extras(experiment, claims, masks))]


def write_dashboard(
    places: "Sequence[Path]",
    page: Path,
    *,
    tell: "Callable[[str], object]" = print,
    against: str | None = None,
    claims: "Callable[[Experiment], Sequence[Table]] | None" = None,
    masks: "Masks | None" = None,
    refresh: int = 0,
) -> Path:
    """Write one page of the results in several places, and return its path.

    Args:
        places: Run folders, experiments, archives, folders above them, and projects of W&B.
        page: The file; one that is there must be such a page.
        tell: Says in a sentence what could not be had.
        against: Arm that the others are compared with. None: the untouched model.
        claims: Tables of verdicts on claims, from the runs.
        masks: Masks of the arms' patterns.
        refresh: Seconds after which a page that is open is read again; 0: never.

    Raises:
        ValueError: If a place holds no results, no arm has that name, or the file is none of ours.
    """
    from lcx_lightning.results.places import Places
    from lcx_lightning.results.report.dashboard.page import check_output, write_page
    from lcx_lightning.results.report.views import sections_of

    check_output(page)
    experiment, sources, faults = read_results(places, against)
    for fault in faults:
        tell(fault.reason)
    more, found = _extras(experiment, claims, masks, refresh), Places(sources, faults)
    return write_page(experiment, page, sections_of(experiment), places=found, extras=more)


def _extras(
    experiment: "Experiment",
    claims: "Callable[[Experiment], Sequence[Table]] | None",
    masks: "Masks | None",
    refresh: int = 0,
) -> "Extras":
    """What a page has beside what was measured."""
    from lcx_lightning.results.report.dashboard.masks import Patterns
    from lcx_lightning.results.report.dashboard.page import Extras

    return Extras(claims(experiment) if claims else (), masks(experiment) if masks else Patterns(), refresh)


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


class Results(NamedTuple):
    """What is at some places: all runs as one experiment, the experiments, and what is damaged or missing."""

    experiment: "Experiment"
    sources: "list[Experiment]"
    faults: "list[Fault]"


def read_results(places: "Sequence[Path]", against: str | None = None, whole: bool = False) -> Results:
    """The runs of all places, which are compared with an arm of that name, if any.

    Args:
        places: Run folders, experiments, archives, folders above them, and projects of W&B, `wandb:ENTITY/PROJECT`.
        against: Name of an arm.
        whole: Whether a folder that is damaged, or holds no runs, is an error.

    Raises:
        ValueError: If nothing is left of all places, or no arm has that name.
    """
    from lcx_lightning.results.places import read_places
    from lcx_lightning.results.records import joined

    sources, faults = read_places(places, whole)
    return Results(_against(joined(sources) if len(sources) > 1 else sources[0], against), sources, faults)


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


def markdown(place: Path, against: str | None = None) -> str:
    """The tables of all measures in Markdown, notes that they share after each section, and at the end what is missing.

    Args:
        place: Folder or archive of an experiment, or a project of W&B.
        against: Arm that the others are compared with. None: that of report.against, else the untouched model.
    """
    from lcx_lightning.results.report.tables import escaped, markdown_list, markdown_table
    from lcx_lightning.results.report.views import sections_of

    texts, (experiment, _, faults) = [], read_results([place], against, whole=True)
    for section in sections_of(experiment):
        texts += [f"{escaped(sentence)}\n" for sentence in section.sentences]
        texts += [
            f"{escaped(table.title)}\n\n{markdown_table(table)}" for view in section.views for table in view.tables
        ]
        texts += [markdown_list(section.notes)] if section.notes else []
    texts += [markdown_list([fault.reason for fault in faults])] if faults else []
    return "\n".join(texts)
