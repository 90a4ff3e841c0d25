"""The page of an experiment: one self-contained HTML file with figures, tables, and what was run."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from lcx_lightning.results.records import Experiment, Run
from lcx_lightning.results.report.labels import NOT_EVALUATED, pretrain_length, seconds_text
from lcx_lightning.results.report.tables import Cell, Table, starred
from lcx_lightning.results.report.views import Section, View

PAGE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"
SHORT = 12  # characters of a fingerprint or commit that are shown


def is_current(experiment: Experiment, folder: Path) -> bool:
    """Return whether the page of a folder was made of just these records and run files."""
    path = folder / PAGE
    return path.exists() and _sources(experiment) in path.read_text()


def _sources(experiment: Experiment) -> str:
    """Return a hash of what the page shows: the experiment and the files of its runs."""
    digest = hashlib.sha256(json.dumps(experiment.meta, sort_keys=True).encode())
    for run in experiment.runs:
        for path in sorted(run.folder.glob("*.json*")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def write_page(
    experiment: Experiment, folder: Path | str, sections: Sequence[Section], figures: Mapping[str, list[str]]
) -> Path:
    """Write index.html into the folder; it loads nothing, and links to the records beside it.

    Args:
        experiment: The experiment that the page shows.
        folder: Folder of the page.
        sections: What it shows of the experiment.
        figures: SVGs of the figures of each view by its name; one without any has no finite number in any arm.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        sources=_sources(experiment),
        name=experiment.name,
        question=experiment.meta.get("question") or experiment.name,
        look_for=experiment.meta.get("look_for"),
        sections=[
            {
                "heading": section.heading if len(sections) > 1 else "",
                "sentences": section.sentences,
                "views": [_view(view, figures.get(view.name, [])) for view in section.views],
                "notes": section.notes,
            }
            for section in sections
        ],
        commands=experiment.meta.get("commands") or ["not recorded"],
        facts=_facts(experiment),
        settings=_common(run.info.get("config") or {} for run in experiment.runs),
        runs=[_run(run, folder) for run in experiment.runs],
    )
    path = folder / PAGE
    path.write_text(page, encoding="utf-8")
    return path


def _view(view: View, svgs: list[str]) -> dict[str, Any]:
    tables, metric = view.tables, view.experiment.metric(view.measure)
    names = [f"{view.name}-{number}" for number in range(len(svgs))]
    part = f" ({view.experiment.part})" if view.experiment.part else ""
    return {
        "heading": f"{metric.title[0].upper()}{metric.title[1:]}, protocol {view.measure.protocol}{part}",
        "axes": "Both axes are" if metric.logarithmic else "The axis of lengths is",
        "figures": [
            {"name": name, "svg": _inline(svg, name, tables[0])} for name, svg in zip(names, svgs, strict=True)
        ],
        "tables": [replace(table, rows=[[_unbroken(cell) for cell in row] for row in table.rows]) for table in tables],
    }


def _unbroken(cell: Cell) -> Cell:
    """The cell, which may break before an interval and nowhere else, starred where it is marked."""
    text = starred(cell).replace(" ", "\N{NO-BREAK SPACE}")
    return replace(cell, text=text.replace("\N{NO-BREAK SPACE}[", " ["))


def _inline(svg: str, name: str, table: Table) -> Markup:
    """The figure with a label that is read aloud, and with ids of its own: those of a page must all differ."""
    svg = re.sub(r'(\bid="|url\(#)', rf"\g<1>{escape(name)}-", svg)
    label = escape(f"{table.title}, as a figure with a line for each arm. Its numbers are in the table.")
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def _facts(experiment: Experiment) -> dict[str, str]:
    infos = [run.info for run in experiment.runs]
    configs = [info.get("config") or {} for info in infos]
    computed_by = [one for info in infos for one in info.get("computed_by") or ()]
    commits = {str(one["git_commit"])[:SHORT] for one in computed_by if one.get("git_commit")}
    rows = [row for run in experiment.runs for row in run.rows]
    documents = {(row.get("dataset"), row["document"]) for row in rows}
    seconds = sum(sum((info.get("seconds") or {}).values()) for info in infos)
    return {
        "Arms and seeds": f"{len(experiment.arms())} arms; seeds {', '.join(map(str, experiment.seeds()))}",
        "Scored": f"{len(documents):,} documents, {sum(row['n'] for row in rows):,} tokens over all runs and lengths",
        "Pretraining length": f"{pretrain_length(experiment) or 'differs between arms'} tokens",
        "Time": f"{seconds_text(seconds)} for extending and evaluating, all runs together",
        "Model": _joined(_common(config.get("model") for config in configs)),
        "Data": _joined(_common(config.get("data") for config in configs)),
        "Hardware": _joined(_common(one.get("hardware") for one in computed_by)),
        "Versions": _joined(_common(one.get("versions") for one in computed_by)),
        "Git commit": ", ".join(sorted(commits)),
    }


def _run(run: Run, folder: Path) -> dict[str, Any]:
    info, place = run.info, Path(os.path.relpath(run.folder, folder)).as_posix()
    files = [name for name in ("run.json", "records.jsonl") if (run.folder / name).exists()]
    return {
        "arm": run.arm,
        "seed": info["seed"],
        "state": f"{info.get('state', 'unknown')}{': ' + info['reason'] if info.get('reason') else ''}",
        "factor": info.get("factor") or NOT_EVALUATED,
        "trained_at": info.get("train_length") or "none",
        "fingerprint": str(info.get("fingerprint") or NOT_EVALUATED)[:SHORT],
        "files": {name: quote(f"{place}/{name}") for name in files},
    }


def _common(values: Iterable[object]) -> dict[str, str]:
    """Settings, by dotted key, that have the same value in all of the nested dictionaries."""
    first, *others = [dict(_flat(value)) for value in values] or [{}]
    return {key: text for key, text in first.items() if all(other.get(key) == text for other in others)}


def _flat(value: object, key: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif value is not None:
        yield key, str(value)


def _joined(settings: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}".strip() for key, value in settings.items())
