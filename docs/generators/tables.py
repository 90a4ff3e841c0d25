"""Tables of what the configuration folders offer, and of the benchmarks that are kept in docs/benchmarks."""

import importlib
import json
import re
from pathlib import Path

from omegaconf import OmegaConf

from lcx_lightning.methods.library import METHODS, PARTS, methods, read_method

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIGS = ROOT / "experiments" / "configs"
PAPER = re.compile(r"(?:arXiv:)?(\d{4}\.\d{5})")


def methods_table() -> str:
    """Return the methods as a Markdown table, each with a link to its page."""
    pretrained = read_method("pretrained")
    rows = ["| `method=` | what it is | parts | needs training | paper |", "|---|---|---|---|---|"]
    for name in methods():
        method = read_method(name)
        parts = ", ".join(part for part in PARTS if method[part] != pretrained[part]) or "none"
        papers = ", ".join(linked(number) for number in papers_of(name))
        training = "yes" if training_note(name) else "no"
        rows.append(f"| [`{name}`]({name}.md) | {title_of(name)} | {parts} | {training} | {papers} |")
    return "\n".join(rows)


def evaluations_table() -> str:
    """Return the evaluations as a Markdown table, each with a link to its class."""
    rows = ["| `evaluation=` | what it is | class |", "|---|---|---|"]
    for path in sorted((CONFIGS / "evaluation").glob("*.yaml")):
        target = OmegaConf.load(path)._target_
        rows.append(f"| `{path.stem}` | {described(path)} | {class_link(target)} |")
    return "\n".join(rows)


def data_table() -> str:
    """Return the corpora as a Markdown table."""
    rows = ["| `data=` | what it is |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{p.stem}` | {described(p)} |" for p in sorted((CONFIGS / "data").glob("*.yaml")))])


def choices_table(group: str) -> str:
    """Return the files of another folder of configs, such as training, as a Markdown table."""
    rows = [f"| `{group}=` | what it is |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{p.stem}` | {described(p)} |" for p in sorted((CONFIGS / group).glob("*.yaml")))])


def benchmarks_table() -> str:
    """Return the benchmarks that are kept as a Markdown table."""
    from experiments.benchmarks.show import markdown_table

    return markdown_table([json.loads(path.read_text()) for path in sorted((DOCS / "benchmarks").glob("*.json"))])


def described(path: Path) -> str:
    """Return the first comment of a file that is no instruction to Hydra, up to its full stop, papers linked."""
    comments = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# ")]
    first = next(line for line in comments if not line.startswith("@package"))
    return PAPER.sub(lambda paper: linked(paper[1]), first.rstrip("."))


def title_of(name: str) -> str:
    """Return what a method is: the first line of its file, up to the paper."""
    return _first_line(name).split(", arXiv")[0]


def papers_of(name: str) -> list[str]:
    """Return the arXiv numbers that the first line of a method's file names."""
    return PAPER.findall(_first_line(name))


def training_note(name: str) -> str | None:
    """Return why a method needs training, from its file or one that it stands on; None if it needs none."""
    notes = [line for line in _lines(name) if line.startswith("# Needs training: ")]
    if notes:
        return notes[0].removeprefix("# Needs training: ")
    return next(filter(None, map(training_note, bases_of(name))), None)


def bases_of(name: str) -> list[str]:
    """Return the methods that the file of a method stands on."""
    listed = OmegaConf.select(OmegaConf.load(METHODS / f"{name}.yaml"), "defaults") or []
    return [base for base in listed if base != "_self_"]


def class_link(target: str) -> str:
    """Return a reference to the documentation of a class by its public name."""
    return f"[`{target.rsplit('.', 1)[1]}`][{defined_at(target)}]"


def defined_at(target: str) -> str:
    """Return the full name of a class, by the file that defines it, from its public name."""
    module, name = target.rsplit(".", 1)
    found = getattr(importlib.import_module(module), name)
    return f"{found.__module__}.{found.__qualname__}"


def linked(number: str) -> str:
    """Return a link to a paper on arXiv."""
    return f"[arXiv:{number}](https://arxiv.org/abs/{number})"


def _first_line(name: str) -> str:
    return _lines(name)[0].removeprefix("# ")


def _lines(name: str) -> list[str]:
    return (METHODS / f"{name}.yaml").read_text().splitlines()
