"""The verdicts on the claims of the papers, from the archives that come with the project."""

import shutil
from pathlib import Path

from generators.blocks import block_of

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "experiments" / "results"
ARCHIVES = ("reproduce_cpu", "decode_speed", "length_failure", "interpolation_bound", "reproduce_real")
PAGE, FIGURE = KEPT / "claims.md", KEPT / "reproduce_cpu.svg"


def claims_page() -> str:
    """Return the page of the verdicts: a short table between marks, and a table for each paper."""
    from lcx_lightning.results.claims import read_papers
    from lcx_lightning.results.records import joined, read_experiment
    from lcx_lightning.results.report.claims_table import NOTE, claims_tables, verdicts_table
    from lcx_lightning.results.report.tables import escaped, markdown_table
    from lcx_lightning.runner.recorded import recorded

    experiment = joined([read_experiment(KEPT / f"{name}.zip") for name in ARCHIVES])
    papers = read_papers(ROOT / "experiments" / "papers", recorded())
    where = [one for run in experiment.runs for one in run.info["computed_by"]]
    commits = sorted({f"`{one['git_commit'][:12]}`" for one in where})
    machines = sorted({f"{one['hardware']['machine']}, {one['hardware']['cores']} cores" for one in where})
    versions = sorted({f"{name} {one['versions'][name]}" for one in where for name in ("torch", "transformers")})
    parts = [
        "<!-- Written by python docs/refresh.py --claims -->",
        f"<!-- verdicts -->\n{_without_notes(markdown_table(verdicts_table(papers, experiment)))}\n<!-- /verdicts -->",
        f"{escaped(NOTE)}",
        f"Computed on {'; '.join(machines)}, with {', '.join(versions)}, commits {', '.join(commits)}.",
    ]
    for table in claims_tables(papers, experiment):
        parts += [f"## {escaped(table.title)}", _without_notes(markdown_table(table))]
    return "\n\n".join(parts) + "\n"


def write_claims() -> None:
    """Write the page anew."""
    PAGE.write_text(claims_page())


def short_verdicts() -> str:
    """Return the short table of the page as it is."""
    return block_of(PAGE.read_text(), "verdicts")


def keep_figure(folder: Path) -> None:
    """Copy the figure of reproduce_cpu beside its archive."""
    shutil.copy(folder / "perplexity.svg", FIGURE)


def _without_notes(table: str) -> str:
    return table.split("\n\n")[0]
