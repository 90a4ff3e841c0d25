"""The dashboard as a file: template, styles and scripts in one page that loads nothing and is allowed nothing else."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lcx_lightning.results.places import Places
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.dashboard.contents import Chart, Contents, contents, main_view
from lcx_lightning.results.report.dashboard.masks import Patterns, drawings, masks_table
from lcx_lightning.results.report.dashboard.tables import overview_table, verdicts, web_table
from lcx_lightning.results.report.dashboard.where import cells_without_result, machines, runs_of
from lcx_lightning.results.report.tables import Table
from lcx_lightning.results.report.views import Section, View

PAGE = "index.html"
MARK = '<meta name="generator" content="lcx-lightning dashboard">'
TEMPLATES = Path(__file__).parents[1] / "templates"
SCRIPTS = ("state.js", "rows.js", "charts.js", "arms.js", "start.js")  # in this order


class Extras(NamedTuple):
    """What a page shows besides the numbers of its records."""

    claims: Sequence[Table] = ()  # tables of verdicts
    patterns: Patterns = Patterns()  # of the arms
    refresh: int = 0  # seconds after which a page that is open is read again; 0: never


NOTHING = Extras()


def is_current(experiment: Experiment, path: Path) -> bool:
    """Return whether a page was made of just these records and run files."""
    return path.exists() and sources_hash(experiment) in path.read_text(encoding="utf-8")


def sources_hash(experiment: Experiment) -> str:
    """Return a hash of what the page shows: the experiment and the files of its runs."""
    digest = hashlib.sha256(json.dumps(experiment.meta, sort_keys=True).encode())
    for run in experiment.runs:
        for path in sorted(run.folder.glob("*.json*")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def check_output(path: Path) -> None:
    """Raise a ValueError if a file is there that is no page of ours, or no file can be there."""
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"A file for the page is needed, such as report.html in a folder that exists; got {path}.")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:4000]:
        raise ValueError(f"{path} exists and is no page of ours. Move it away, or give another name with -o.")


def write_page(
    experiment: Experiment,
    path: Path | str,
    sections: Sequence[Section],
    *,
    places: Places | None = None,
    extras: Extras = NOTHING,
) -> Path:
    """Write the page, whole or not at all; it loads nothing, and links to the records beside it.

    Args:
        experiment: The runs that the page shows.
        path: The file.
        sections: What it shows of them.
        places: The experiments that the runs were read from, and what could not be read; None: this one, whole.
        extras: What else the page shows.
    """
    path, places = Path(path), places or Places([experiment], [])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(page_text(experiment, path.parent, sections, places, extras), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def page_text(
    experiment: Experiment,
    folder: Path,
    sections: Sequence[Section],
    places: Places,
    extras: Extras,
) -> str:
    """The page as a text; `folder` is where it will stand."""
    sources = places.experiments
    shown, first = contents(experiment, sections, sources), main_view(sections, several=len(sources) > 1)
    style, scripts = _style(), [_bundle(), _script()]
    template = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("dashboard.html.jinja")  # fmt: skip
    without = cells_without_result(experiment, places)
    return template.render(
        mark=Markup(MARK),
        policy=_policy(style, scripts),
        sources=sources_hash(experiment),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=Markup(in_page(shown.data | {"refresh": extras.refresh})),
        about=_about(experiment, sources),
        overview=_overview(first, shown),
        sections=[_section(section, shown, first, len(sections)) for section in sections],
        verdicts=[verdicts(table) for table in extras.claims],
        ablations=shown.ablations,
        costs=shown.costs,
        arms=shown.data["arms"],
        masks=drawings(extras.patterns.masks, {arm: number for number, arm in enumerate(experiment.arms())}),
        masks_table=web_table(masks_table(extras.patterns.masks), {}, {}),
        masks_left_out=extras.patterns.left_out,
        machines=web_table(machines(experiment), {}, {}),
        without=web_table(without, {}, {}) if without else None,
        runs=runs_of(experiment, folder),
    )


def in_page(value: Any) -> str:
    """JSON that stands in a script element: no text in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _about(experiment: Experiment, sources: Sequence[Experiment]) -> dict[str, Any]:
    questions = list(dict.fromkeys(str(source.meta.get("question") or source.name) for source in sources))
    rows = [row for run in experiment.runs for row in run.rows]
    documents = {(row.get("dataset"), row["document"]) for row in rows}
    seeds = ", ".join(map(str, experiment.seeds()))
    alone = len(questions) == 1
    return {
        "title": questions[0] if alone else f"{len(questions)} experiments: {', '.join(s.name for s in sources)}",
        "names": ", ".join(dict.fromkeys(source.name for source in sources)),
        "questions": [] if alone else questions,
        "look_for": [one for source in sources for one in source.meta.get("look_for") or ()],
        "scored": f"{len(experiment.arms())} arms, seeds {seeds}, {len(documents):,} documents",
        "commands": list(dict.fromkeys(one for source in sources for one in source.meta.get("commands") or ())),
    }


def _overview(view: View | None, shown: Contents) -> dict[str, Any] | None:
    if view is None:
        return None
    charts = shown.of_view[view.name]
    return {"chart": charts[0] if charts else None, "table": overview_table(view, shown.data["views"][view.name])}


def _section(section: Section, shown: Contents, first: View | None, one_of: int) -> dict[str, Any]:
    return {
        "heading": section.heading if one_of > 1 else "",
        "sentences": section.sentences,
        "notes": section.notes,
        "views": [
            _view(view, shown.of_view[view.name], shown.data["views"][view.name], in_overview=view is first)
            for view in section.views
        ],
    }


def _view(view: View, charts: list[Chart], data: Mapping[str, Any], in_overview: bool) -> dict[str, Any]:
    """What the template shows of a view; the first chart of one may stand in the overview."""
    metric = view.experiment.metric(view.measure)
    part = f" ({view.experiment.part})" if view.experiment.part else ""
    return {
        "name": view.name,
        "heading": f"{metric.title[0].upper()}{metric.title[1:]}, protocol {view.measure.protocol}{part}",
        "short": f"{metric.title}, {view.measure.protocol}",
        "charts": charts[in_overview:],
        "no_figure": not charts,
        "tables": [web_table(table, *_rows_and_places(view, data)) for table in view.tables],
    }


def _rows_and_places(view: View, data: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, float]]:
    """The numbers of arms by the names in tables, and places by the headers of columns."""
    from lcx_lightning.results.report.labels import arm_label, place_header

    numbers = {arm: number for number, arm in data["labels"].items()}
    rows = {arm_label(view.experiment.runs_of(arm)): numbers[arm] for arm in view.experiment.arms()}
    by_length = view.experiment.metric(view.measure).axis.key == "context_length"
    places = data["places"] if by_length else ()
    return rows, {place_header(view.experiment, view.measure, place): place for place in places}


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from vl-convert: nothing is fetched."""
    import vl_convert

    return _enclosed(vl_convert.javascript_bundle())  # pyright: ignore[reportCallIssue]


@cache
def _script() -> str:
    texts = [(TEMPLATES / "dashboard" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return _enclosed("\n".join(texts))


@cache
def _style() -> str:
    return (TEMPLATES / "dashboard" / "style.css").read_text(encoding="utf-8")


def _enclosed(script: str) -> str:
    """A script with names of its own, that holds no end of its element: in a string "<\\/" is "</"."""
    script = f'(() => {{"use strict";\n{script}\n}})();'
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(style: str, scripts: Sequence[str]) -> str:
    """The content-security policy: these scripts and styles, by their hashes, images as data, and nothing else."""
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
