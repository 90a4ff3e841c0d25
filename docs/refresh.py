"""Write results into the documentation: `python docs/refresh.py results/quickstart results/bench`.

Tables replace the blocks that have the name of their folder, with the name of the metric behind it for any but the
first; figures that pages show are copied. `results/bench` goes to docs/benchmarks. `--claims` writes the verdicts on
the papers' claims anew from the archives in experiments/results. Without folders, the parts of the README that follow
from pages are written anew.
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

from generators.blocks import block_of, replace_block, short_table
from generators.verdicts import keep_figure, short_verdicts, write_claims

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
RESULTS = DOCS / "results"


def main(arguments: list[str] | None = None) -> int:
    """Rewrite what the given folders, or the code, determine, and return 0."""
    parser = argparse.ArgumentParser(prog="python docs/refresh.py", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="results folders, such as results/quickstart")
    parser.add_argument("--claims", action="store_true", help="write the verdicts on the claims of the papers")
    asked = parser.parse_args(arguments)
    for folder in asked.folders:
        if folder.name == "bench":
            keep_benchmarks(folder, DOCS / "benchmarks")
        else:
            write_results(folder)
    if asked.claims:
        write_claims()
    README.write_text(readme())
    return 0


def readme() -> str:
    """Return the README with its generated parts as they should be."""
    quickstart = block_of((RESULTS / "quickstart.md").read_text(), "quickstart")
    text = replace_block(README.read_text(), "quickstart", short_table(quickstart))
    return replace_block(text, "verdicts", short_verdicts())


def write_results(folder: Path) -> None:
    """Write the tables of a results folder into the pages that have their names, and copy the figures they show.

    Raises:
        ValueError: If not all of its runs can be compared.
    """
    from lcx_lightning.results.records import read_experiment
    from lcx_lightning.results.report.tables import length_table, markdown_table
    from lcx_lightning.results.report.views import sections_of

    sections = sections_of(read_experiment(folder))
    if len(sections) > 1:
        raise ValueError(
            f"{folder} holds runs that cannot be compared, such as those of {sections[0].heading}: move some away."
        )
    views = sections[0].views
    counts = Counter(view.measure for view in views)
    for view in views:
        measure = view.name if counts[view.measure] > 1 else view.measure.name  # one under several settings
        name = folder.name if view is views[0] else f"{folder.name} {measure}"
        for page in RESULTS.glob("*.md"):
            if f"<!-- {name} -->" in page.read_text():
                table = markdown_table(length_table(view.experiment, view.measure))
                page.write_text(replace_block(page.read_text(), name, table))
    if folder.name == "reproduce_cpu":
        keep_figure(folder)
    for shown, figure in (
        (f"{folder.name}.svg", "perplexity.svg"),
        (f"{folder.name}_depths.svg", "passkey_accuracy_depth.svg"),
    ):
        if (RESULTS / shown).exists():
            shutil.copy(folder / figure, RESULTS / shown)


def keep_benchmarks(folder: Path, kept: Path) -> None:
    """Copy the benchmarks of `folder`, such as results/bench, with their figures into the folder `kept`.

    Raises:
        ValueError: If one was measured at sizes that mean nothing.
    """
    found = sorted(folder.glob("*.json"))
    quick = [path.stem for path in found if json.loads(path.read_text())["quick"]]
    if quick:
        raise ValueError(f"{', '.join(quick)} ran with --quick, whose figures mean nothing: run it again without.")
    kept.mkdir(parents=True, exist_ok=True)
    for path in found:
        for file in (path, path.with_suffix(".svg")):
            shutil.copy(file, kept / file.name)


if __name__ == "__main__":
    sys.exit(main())
