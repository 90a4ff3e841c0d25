"""Show the results of a folder, or what folders say of papers: `python -m experiments.report results/quickstart`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from lcx_lightning.results.archive import SUFFIX
from lcx_lightning.results.report.screen import Output, readers_may_leave, say, screen

PAPERS = Path(__file__).parent / "papers"


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, or 2 where a folder holds no runs."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__)
    parser.add_argument(
        "folders", type=Path, nargs="+", help="a results folder, such as results/quickstart, or an archive of one"
    )
    parser.add_argument("--against", metavar="ARM", help="arm that the others are compared with, not pretrained")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown and write nothing")
    parser.add_argument("--claims", action="store_true", help="print the verdicts on the claims of the papers")
    parser.add_argument("--papers", type=Path, default=PAPERS, help="folder with files of claims (%(default)s)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write figures for a paper there, and no page")
    parser.add_argument("--tables", type=Path, metavar="DIR", help="write tables in CSV, Markdown and LaTeX there")
    options = parser.parse_args(arguments)
    exports = options.figures or options.tables
    if exports and (options.markdown or (options.figures and options.claims)):
        parser.error("--figures and --tables write files: --markdown prints, and --claims has tables and no figures")
    packed = [folder for folder in options.folders if folder.suffix == SUFFIX and folder.is_file()]
    if packed and not (options.claims or options.markdown or exports):
        parser.error(
            f"{packed[0]} is an archive, which has no room for figures: add --markdown or --claims, or unpack it"
        )
    if len(options.folders) > 1 and not (options.claims or exports):
        parser.error("several folders are read together with --claims, --figures or --tables only")
    console = screen()
    try:
        if options.claims:
            print_claims(options.folders, options.papers, options.markdown, options.tables, console)
        elif exports:
            write_exports(options.folders, options.against, options.figures, options.tables, console)
        else:
            print_report(options.folders[0], options.against, options.markdown, console)
    except (ValueError, OSError) as error:
        Output(sys.stderr).write(f"{error}\n")
        return 2
    return 0


def print_report(folder: Path, against: str | None, in_markdown: bool, console: Console) -> None:
    """Print the tables of a folder, and the paths of the figures and the page that are written."""
    from lcx_lightning.results.report.command import markdown, report

    if in_markdown:
        console.file.write(markdown(folder, against))
        return
    for path in report(folder, console, against=against):
        say(console, str(path))


def write_exports(
    folders: list[Path], against: str | None, figures: Path | None, tables: Path | None, console: Console
) -> None:
    """Write figures and tables for a paper, and print the paths of the files."""
    from lcx_lightning.results.report.command import export, read_folders

    for path in export(read_folders(folders, against), figures, tables, console):
        say(console, str(path))


def print_claims(folders: list[Path], papers: Path, in_markdown: bool, place: Path | None, console: Console) -> None:
    """Print what the runs of several folders say of the claims of papers, or write it into a folder for a paper."""
    from lcx_lightning.results.claims import read_papers
    from lcx_lightning.results.report.claims_table import claims_tables
    from lcx_lightning.results.report.command import read_folders
    from lcx_lightning.results.report.tables import escaped, markdown_table
    from lcx_lightning.results.report.terminal import TerminalTable
    from lcx_lightning.runner.recorded import recorded

    experiment = read_folders(folders)
    tables = claims_tables(read_papers(papers, recorded()), experiment)
    if place:
        from lcx_lightning.results.report.exports import export_tables

        for path in export_tables({f"claims{table.end}": table for table in tables}, place, experiment.name):
            say(console, str(path))
        return
    for table in tables:
        if in_markdown:
            console.file.write(f"{escaped(table.title)}\n\n{markdown_table(table)}\n")
        else:
            console.print(TerminalTable(table))


if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
