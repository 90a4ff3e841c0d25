"""The generated parts of README and docs: `python -m experiments.readme [results folder]` writes them anew."""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from omegaconf import OmegaConf

from lcx_lightning.methods.library import METHODS, PARTS, methods, read_method

README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"
EVALUATIONS = Path(__file__).parent / "configs" / "evaluation"
CORPORA = Path(__file__).parent / "configs" / "data"
PAPER = re.compile(r"(?:arXiv:)?(\d{4}\.\d{5})")


def methods_table() -> str:
    """Return the methods as a Markdown table, from their files."""
    pretrained = read_method("pretrained")
    rows = ["| `method=` | what it is | parts | needs training | paper |", "|---|---|---|---|---|"]
    for name in methods():
        what = (METHODS / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ")
        paper = PAPER.search(what)
        link = f"[{paper[1]}](https://arxiv.org/abs/{paper[1]})" if paper else ""
        parts = ", ".join(part for part in PARTS if read_method(name)[part] != pretrained[part])
        training = "yes" if needs_training(name) else "no"
        rows.append(f"| `{name}` | {what.split(', arXiv')[0]} | {parts or 'none'} | {training} | {link} |")
    return "\n".join(rows)


def evaluations_table() -> str:
    """Return the evaluations as a Markdown table, from their files."""
    rows = ["| `evaluation=` | what it is |", "|---|---|"]
    for path in sorted(EVALUATIONS.glob("*.yaml")):
        what = path.read_text().splitlines()[1].removeprefix("# ")
        rows.append(f"| `{path.stem}` | {PAPER.sub(_link, what.rstrip('.'))} |")
    return "\n".join(rows)


def data_table() -> str:
    """Return the data files as a Markdown table."""
    rows = ["| `data=` | what it is |", "|---|---|"]
    for path in sorted(CORPORA.glob("*.yaml")):
        what = path.read_text().splitlines()[0].removeprefix("# ")
        rows.append(f"| `{path.stem}` | {PAPER.sub(_link, what.rstrip('.'))} |")
    return "\n".join(rows)


def _link(paper: re.Match) -> str:
    return f"[{paper[0]}](https://arxiv.org/abs/{paper[1]})"


def benchmarks_table() -> str:
    """Return the committed benchmarks as a Markdown table."""
    from experiments.benchmarks.show import markdown_table

    return markdown_table([json.loads(path.read_text()) for path in sorted((DOCS / "benchmarks").glob("*.json"))])


def keep_benchmarks(folder: Path, kept: Path) -> None:
    """Copy the figures of `folder`, such as results/bench, into the folder `kept`.

    Raises:
        ValueError: If one was measured at sizes that mean nothing.
    """
    found = sorted(folder.glob("*.json"))
    quick = [path.stem for path in found if json.loads(path.read_text())["quick"]]
    if quick:
        raise ValueError(f"{', '.join(quick)} ran with --quick, whose figures mean nothing: run again without it.")
    kept.mkdir(parents=True, exist_ok=True)
    for path in found:
        for one in (path, path.with_suffix(".svg")):
            shutil.copy(one, kept / one.name)


def needs_training(name: str) -> bool:
    """Return whether the file of a method, or one that it stands on, has a comment "Needs training"."""
    path = METHODS / f"{name}.yaml"
    bases = [base for base in OmegaConf.select(OmegaConf.load(path), "defaults") or [] if base != "_self_"]
    return "# Needs training" in path.read_text() or any(needs_training(base) for base in bases)


def replace_block(text: str, name: str, block: str) -> str:
    """Return `text` with the part between the marks `<!-- name -->` and `<!-- /name -->` replaced.

    Raises:
        ValueError: If the marks are not there.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"It needs the marks <!-- {name} --> and <!-- /{name} -->; write them where it belongs.")
    return pattern.sub(lambda marks: f"{marks[1]}{block.strip()}\n{marks[2]}", text)


def main() -> int:
    """Rewrite README.md and the documents whose marks name a given results folder, and return 0.

    A mark of another table than the folder's first has the table's name behind that of the folder. Figures that
    documents show are copied, those of results/bench into docs/benchmarks.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments.readme", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="*", help="results folders, such as results/quickstart")
    folders = parser.parse_args().folder
    for folder in [folder for folder in folders if folder.name == "bench"]:
        keep_benchmarks(folder, DOCS / "benchmarks")
    _rewrite(README, "methods", methods_table())
    _rewrite(README, "data", data_table())
    _rewrite(README, "evaluations", evaluations_table())
    _rewrite(README, "benchmarks", benchmarks_table())
    for folder in [folder for folder in folders if folder.name != "bench"]:
        from lcx_lightning.results.records import read_experiment
        from lcx_lightning.results.report.tables import length_table, markdown_table

        experiment = read_experiment(folder)
        for measure in experiment.measures():
            table = markdown_table(length_table(experiment, measure))
            name = folder.name if measure == experiment.measures()[0] else f"{folder.name} {measure.name}"
            for document in (README, *sorted(DOCS.glob("*.md"))):
                if f"<!-- {name} -->" in document.read_text():
                    _rewrite(document, name, table)
        if f"docs/{folder.name}.svg" in README.read_text():
            shutil.copy(folder / "perplexity.svg", DOCS / f"{folder.name}.svg")
        if (depths := DOCS / f"{folder.name}_depths.svg").exists():
            shutil.copy(folder / "passkey_accuracy_depth.svg", depths)
    return 0


def _rewrite(document: Path, name: str, block: str) -> None:
    document.write_text(replace_block(document.read_text(), name, block))


if __name__ == "__main__":
    sys.exit(main())
