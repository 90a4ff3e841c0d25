"""Report of a results folder: tables in the terminal, figures and a page on disk. Reads records only."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lcx_lightning.results.report.screen import Output, say, screen

if TYPE_CHECKING:
    from rich.console import Console

    from lcx_lightning.results.metrics import Measure


def report(folder: Path, console: "Console", *, redraw: bool = True) -> list[Path]:
    """Print the tables and what to look for; write figures and page into the folder and return their paths.

    Args:
        folder: Folder of the experiment.
        console: Where the tables are printed.
        redraw: Whether figures and page are made anew where they show these records already.
    """
    from lcx_lightning.results.records import read_experiment
    from lcx_lightning.results.report.figures import save
    from lcx_lightning.results.report.page import PAGE, is_current, write_page
    from lcx_lightning.results.report.tables import terminal_table
    from lcx_lightning.results.report.views import figures_of, tables_of

    experiment = read_experiment(folder)
    paths = []
    figures: dict[Measure, list[str]] = {}
    current = not redraw and is_current(experiment, folder)
    for measure, name in figure_names(experiment.measures()).items():
        for table in tables_of(experiment, measure):
            console.print(terminal_table(table))
        if current:
            continue
        try:
            charts = figures_of(experiment, measure)
        except ValueError as error:  # every arm diverged: the table says so
            say(console, f"No figure: {error}")
            continue
        for end, chart in charts.items():
            svg, png = save(chart, folder, name + end)
            paths += [svg, png]
            figures.setdefault(measure, []).append(svg.read_text())
    for sentence in experiment.meta.get("look_for") or ():
        console.print(f"- {sentence}", highlight=False)
    if current:
        return [*sorted([*folder.glob("*.svg"), *folder.glob("*.png")]), folder / PAGE]
    return [*paths, write_page(experiment, folder, figures)]


def figure_names(measures: "list[Measure]") -> "dict[Measure, str]":
    """File name of each measure's figure, without its ending: "perplexity" for the first if it is one."""
    names = {m: ("perplexity_" if m.metric == "nll" else "") + re.sub(r"\W+", "_", m.name) for m in measures}
    return names | {m: "perplexity" for m in measures[:1] if m.metric == "nll"}


def markdown(folder: Path) -> str:
    """The tables of all measures in Markdown."""
    from lcx_lightning.results.records import read_experiment
    from lcx_lightning.results.report.tables import markdown_table
    from lcx_lightning.results.report.views import tables_of

    experiment = read_experiment(folder)
    tables = [table for measure in experiment.measures() for table in tables_of(experiment, measure)]
    return "\n".join(markdown_table(table) for table in tables)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 2 where the folder holds no runs."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a results folder, such as results/quickstart")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown and write nothing")
    options = parser.parse_args(arguments)
    console = screen()
    try:
        if options.markdown:
            console.file.write(markdown(options.folder))
            return 0
        paths = report(options.folder, console)
    except (ValueError, OSError) as error:
        Output(sys.stderr).write(f"{error}\n")
        return 2
    except (TypeError, KeyError, AttributeError, LookupError) as error:  # files of a run with values of other types
        Output(sys.stderr).write(f"The files in {options.folder} are none of an experiment: {error!r}\n")
        return 2
    for path in paths:
        say(console, str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
