"""Show results: `python -m experiments.report results/quickstart`, or `results/* -o report.html` for one page."""

import argparse
import json
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.console import Console

from lcx_lightning.results.archive import SUFFIX
from lcx_lightning.results.places import is_project
from lcx_lightning.results.report.screen import Output, readers_may_leave, say, screen

if TYPE_CHECKING:
    from lcx_lightning.results.records import Experiment
    from lcx_lightning.results.report.dashboard.masks import Patterns
    from lcx_lightning.results.report.tables import Table

PAPERS = Path(__file__).parent / "papers"
SECONDS = 15  # between two looks at the results, and after which an open page is read again


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, 1 where W&B is out of reach, or 2 where a folder holds no runs."""
    options = _options(arguments)
    console = screen()
    try:
        if options.output:
            write_page(options, console)
        elif options.claims:
            print_claims(options, console)
        elif options.figures or options.tables:
            write_exports(options, console)
        elif not options.wandb or (len(options.folders) == 1 and not options.dry_run and not _without_room(options)):
            print_report(options, console)
        if options.wandb:
            return show_in_wandb(options, console)
    except (ValueError, OSError) as error:
        Output(sys.stderr).write(f"{error}\n")
        return 2
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """What is asked for; a command whose options do not go together ends here."""
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__)
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        help="a results folder, such as results/quickstart, an archive of one, or wandb:ENTITY/PROJECT; with -o "
        "also runs, and folders above several",
    )
    parser.add_argument("--against", metavar="ARM", help="arm that the others are compared with, not pretrained")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown and write nothing")
    parser.add_argument("--claims", action="store_true", help="print the verdicts on the claims of the papers")
    parser.add_argument("--papers", type=Path, default=PAPERS, help="folder with files of claims (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write one page of all folders into a file")
    parser.add_argument("--watch", action="store_true", help="with -o: make the page again while results change")
    parser.add_argument("--serve", metavar="[HOST:]PORT", help="with -o: also serve the page; to this machine, or HOST")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write figures for a paper there, and no page")
    parser.add_argument("--tables", type=Path, metavar="DIR", help="write tables in CSV, Markdown and LaTeX there")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="make the views and the report of a project of W&B")
    parser.add_argument(
        "--dry-run", action="store_true", help="with --wandb: print what would be saved, and save nothing"
    )
    options = parser.parse_args(arguments)
    _check(options, parser)
    return options


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    exports = options.figures or options.tables
    if not options.folders and not options.wandb:
        parser.error("a results folder is needed, or --wandb ENTITY/PROJECT")
    if options.dry_run and not options.wandb:
        parser.error("--dry-run is of --wandb")
    if exports and (options.markdown or (options.figures and options.claims)):
        parser.error("--figures and --tables write files: --markdown prints, and --claims has tables and no figures")
    if (options.watch or options.serve) and not options.output:
        parser.error("--watch and --serve need the file of a page: add -o report.html")
    if options.wandb or options.claims or options.output or exports:
        return
    if found := _without_room(options):
        kind = "a project of W&B" if is_project(found[0]) else "an archive"
        parser.error(f"{found[0]} is {kind}, which has no room for figures: add -o report.html, --markdown or --claims")
    if len(options.folders) > 1:
        parser.error("several folders are read together with -o report.html, --claims, --figures or --tables only")


def _without_room(options: argparse.Namespace) -> list[Path]:
    """The places in which the figures that are asked for cannot be written."""
    if options.markdown:
        return []
    return [one for one in options.folders if is_project(one) or (one.suffix == SUFFIX and one.is_file())]


def print_report(options: argparse.Namespace, console: Console) -> None:
    """Print the tables of a folder, and the paths of the figures and the page that are written."""
    from lcx_lightning.results.report.command import markdown, report

    folder = options.folders[0]
    if options.markdown:
        console.file.write(markdown(folder, options.against))
        return
    claims = partial(verdicts, options.papers)
    for path in report(folder, console, against=options.against, claims=claims, masks=masks):
        say(console, str(path))


def write_page(options: argparse.Namespace, console: Console) -> None:
    """Write one page of all folders, and print its path; go on while it is watched or served."""
    from lcx_lightning.results.report.command import write_dashboard
    from lcx_lightning.results.report.dashboard.serving import address_of, server, watch

    address = address_of(options.serve) if options.serve else None
    refresh = SECONDS if options.watch or address else 0
    claims = partial(verdicts, options.papers)
    make = partial(
        write_dashboard,
        options.folders,
        options.output,
        tell=_tell,
        against=options.against,
        claims=claims,
        masks=masks,
        refresh=refresh,
    )
    say(console, str(make()))
    stop = Event()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        if address:
            served = stack.enter_context(server(options.output, address))
            Thread(target=served.serve_forever, daemon=True).start()
            stack.callback(served.shutdown)
            say(console, f"http://{served.server_address[0]}:{served.server_address[1]}/ until Ctrl+C")
        if refresh:
            watch(options.folders, make, partial(say, console), lambda: not stop.wait(SECONDS))


def write_exports(options: argparse.Namespace, console: Console) -> None:
    """Write figures and tables for a paper, and print the paths of the files."""
    from lcx_lightning.results.report.command import export, read_results

    found = read_results(options.folders, options.against)
    _tell(*(fault.reason for fault in found.faults))
    for path in export(found.experiment, options.figures, options.tables, console):
        say(console, str(path))


def print_claims(options: argparse.Namespace, console: Console) -> None:
    """Print what the runs of several folders say of the claims of papers, or write it into a folder for a paper."""
    from lcx_lightning.results.report.command import read_results
    from lcx_lightning.results.report.exports import export_tables
    from lcx_lightning.results.report.tables import escaped, markdown_table
    from lcx_lightning.results.report.terminal import TerminalTable

    experiment, _, faults = read_results(options.folders)
    tables = verdicts(options.papers, experiment)
    if options.tables:
        by_name = {f"claims{table.end}": table for table in tables}
        for path in export_tables(by_name, options.tables, experiment.name):
            say(console, str(path))
    for table in tables if not options.tables else ():
        if options.markdown:
            console.file.write(f"{escaped(table.title)}\n\n{markdown_table(table)}\n")
        else:
            console.print(TerminalTable(table))
    _tell(*(fault.reason for fault in faults))


def show_in_wandb(options: argparse.Namespace, console: Console) -> int:
    """Make views and report of what is in folders, or else in the project itself; return the exit code."""
    from lcx_lightning.results.report.command import read_results
    from lcx_lightning.results.wandb_project import PREFIX, OutOfReachError, project_of

    try:
        from lcx_lightning.results.report.wandb_views import dashboard_of, publish, specification
    except ImportError as error:
        raise ValueError(
            f"--wandb needs wandb-workspaces: pip install 'lcx-lightning[workspaces]' ({error})"
        ) from error
    project = project_of(options.wandb)
    experiment, sources, faults = read_results(options.folders or [Path(f"{PREFIX}{project}")])
    _tell(*(fault.reason for fault in faults))
    shown = dashboard_of(project, sources, verdicts(options.papers, experiment))
    if options.dry_run:
        console.file.write(json.dumps(specification(shown), indent=2) + "\n")
        return 0
    try:
        for said in publish(shown):
            say(console, said)
    except OutOfReachError as error:
        _tell(str(error))
        return 1
    return 0


def _tell(*sentences: str) -> None:
    """Say what is missing where errors are said."""
    for sentence in sentences:
        Output(sys.stderr).write(f"{sentence}\n")


def verdicts(papers: Path, experiment: "Experiment") -> "list[Table]":
    """Return a table for each paper, with what the runs say of its claims."""
    from lcx_lightning.results.claims import read_papers
    from lcx_lightning.results.report.claims_table import claims_tables
    from lcx_lightning.runner.recorded import recorded

    return claims_tables(read_papers(papers, recorded()), experiment)


def masks(experiment: "Experiment") -> "Patterns":
    """Return the masks of the arms' patterns."""
    from lcx_lightning.runner.recorded_masks import masks_of

    return masks_of(experiment)


if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
