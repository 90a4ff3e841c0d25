"""Show the results of a folder, or what folders say of papers: `python -m experiments.report results/quickstart`."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lcx_lightning.results.archive import SUFFIX
from lcx_lightning.results.places import is_project
from lcx_lightning.results.report.screen import Output, readers_may_leave, say, screen

if TYPE_CHECKING:
    from lcx_lightning.results.records import Experiment
    from lcx_lightning.results.report.tables import Table

PAPERS = Path(__file__).parent / "papers"


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, 1 where W&B is out of reach, or 2 where a folder holds no runs."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__)
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        help="a results folder, such as results/quickstart, an archive of one, or wandb:ENTITY/PROJECT",
    )
    parser.add_argument("--against", metavar="ARM", help="arm that the others are compared with, not pretrained")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown and write nothing")
    parser.add_argument("--claims", action="store_true", help="print the verdicts on the claims of the papers")
    parser.add_argument("--papers", type=Path, default=PAPERS, help="folder with files of claims (%(default)s)")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="make the views and the report of a project of W&B")
    parser.add_argument(
        "--dry-run", action="store_true", help="with --wandb: print what would be saved, and save nothing"
    )
    options = parser.parse_args(arguments)
    _check(options, parser)
    console = screen()
    try:
        if options.claims and options.folders and not options.dry_run:
            print_claims(options.folders, options.papers, options.markdown, console)
        elif not options.wandb or (not options.dry_run and len(options.folders) == 1 and not _without_room(options)):
            print_report(options.folders[0], options.against, options.markdown, console)
        if options.wandb:
            return show_in_wandb(options, console)
    except (ValueError, OSError) as error:
        Output(sys.stderr).write(f"{error}\n")
        return 2
    return 0


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the command where options do not go together."""
    if not options.folders and not options.wandb:
        parser.error("a results folder is needed, or --wandb ENTITY/PROJECT")
    if options.dry_run and not options.wandb:
        parser.error("--dry-run is of --wandb")
    if options.wandb or options.claims:
        return
    if found := _without_room(options):
        kind = "a project of W&B" if is_project(found[0]) else "an archive"
        parser.error(f"{found[0]} is {kind}, which has no room for figures: add --markdown or --claims")
    if len(options.folders) > 1:
        parser.error("several folders are read together with --claims only")


def _without_room(options: argparse.Namespace) -> list[Path]:
    """The places in which the figures that are asked for cannot be written."""
    if options.markdown:
        return []
    return [one for one in options.folders if is_project(one) or (one.suffix == SUFFIX and one.is_file())]


def print_report(folder: Path, against: str | None, in_markdown: bool, console: Console) -> None:
    """Print the tables of a folder, and the paths of the figures and the page that are written."""
    from lcx_lightning.results.report.command import markdown, report

    if in_markdown:
        console.file.write(markdown(folder, against))
        return
    for path in report(folder, console, against=against):
        say(console, str(path))


def print_claims(folders: list[Path], papers: Path, in_markdown: bool, console: Console) -> None:
    """Print what the runs of several folders say of the claims of papers."""
    from lcx_lightning.results.places import read_places
    from lcx_lightning.results.report.tables import escaped, markdown_table
    from lcx_lightning.results.report.terminal import TerminalTable

    experiments, missing = read_places(folders)
    for table in _claims(experiments, papers):
        if in_markdown:
            console.file.write(f"{escaped(table.title)}\n\n{markdown_table(table)}\n")
        else:
            console.print(TerminalTable(table))
    _tell(missing)


def show_in_wandb(options: argparse.Namespace, console: Console) -> int:
    """Make views and report of what is in folders, or else in the project itself; return the exit code."""
    from lcx_lightning.results.places import read_places
    from lcx_lightning.results.wandb_project import PREFIX, OutOfReachError, project_of

    try:
        from lcx_lightning.results.report.wandb_views import dashboard_of, publish, specification
    except ImportError as error:
        raise ValueError(
            f"--wandb needs wandb-workspaces: pip install 'lcx-lightning[workspaces]' ({error})"
        ) from error
    project = project_of(options.wandb)
    experiments, missing = read_places(options.folders or [f"{PREFIX}{project}"])
    _tell(missing)
    shown = dashboard_of(project, experiments, _claims(experiments, options.papers))
    if options.dry_run:
        console.file.write(json.dumps(specification(shown), indent=2) + "\n")
        return 0
    try:
        for said in publish(shown):
            say(console, said)
    except OutOfReachError as error:
        _tell([str(error)])
        return 1
    return 0


def _claims(experiments: "list[Experiment]", papers: Path) -> "list[Table]":
    """The verdicts of experiments on the claims of papers."""
    from lcx_lightning.results.claims import read_papers
    from lcx_lightning.results.records import joined
    from lcx_lightning.results.report.claims_table import claims_tables
    from lcx_lightning.runner.recorded import recorded

    return claims_tables(read_papers(papers, recorded()), joined(experiments))


def _tell(missing: list[str]) -> None:
    """Say what is missing where errors are said."""
    for sentence in missing:
        Output(sys.stderr).write(f"{sentence}\n")


if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
