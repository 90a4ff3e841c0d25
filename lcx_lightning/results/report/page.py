"""The page of an experiment: one self-contained HTML file with figures, tables, and what was run."""

import os
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from lcx_lightning.results.metrics import Measure, metric
from lcx_lightning.results.records import Experiment, Run
from lcx_lightning.results.report.labels import NOT_EVALUATED, pretrain_length, seconds_text
from lcx_lightning.results.report.tables import Cell, Table
from lcx_lightning.results.report.views import tables_of

SHORT = 12  # characters of a fingerprint or commit that are shown
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --paper: #fff; --line: #d8dce1; --link: #0058b8;
  --mark: #fff3c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a3abb5; --paper: #14171b; --line: #373d45;
  --link: #7db8ff; --mark: #4a3d10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
a { color: var(--link); }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft, figcaption, .notes { color: var(--soft); font-size: .9rem; }
.notes { padding-left: 1.2rem; }
figure { margin: 1rem 0 1.5rem; }
figcaption { margin-top: .4rem; }
.wide { overflow-x: auto; }
.wide:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
figure .wide { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .5rem; }
figure svg { display: block; width: 100%; min-width: 36rem; height: auto; margin: 0 auto; max-width: 54rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; min-width: 100%; }
caption { text-align: left; font-weight: 600; padding: .25rem 0 .5rem; }
th, td { padding: .35rem .5rem; border-bottom: 1px solid var(--line); text-align: right; }
thead th { font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
td.marked { background: var(--mark); font-weight: 700; }
.reason { text-align: left; min-width: 14rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .75rem 0; }
summary { cursor: pointer; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } h1 { font-size: 1.35rem; } }
"""


def write_page(experiment: Experiment, folder: Path | str, figures: Mapping[Measure, list[str]]) -> Path:
    """Write index.html into the folder; it loads nothing, and links to the records beside it.

    Args:
        experiment: What was run.
        folder: Of the page.
        figures: SVGs of each measure's figures; a measure without one has no finite number in any arm.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    question = experiment.meta.get("question") or experiment.name
    sections = [_look_for(experiment), *(_measure(experiment, m, figures.get(m, [])) for m in experiment.measures())]
    sections += [_what_was_run(experiment), _runs(experiment, folder)]
    subtitle = f'<p class="soft">Experiment {escape(experiment.name)} of LCX Lightning</p>'
    body = "\n".join(sections)
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(question)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n"
        f"<h1>{escape(question)}</h1>\n{subtitle}\n</header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _look_for(experiment: Experiment) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in experiment.meta.get("look_for") or ())
    return f"<section>\n<h2>What to look for</h2>\n<ul>{items}</ul>\n</section>" if items else ""


def _measure(experiment: Experiment, measure: Measure, svgs: list[str]) -> str:
    tables, title = tables_of(experiment, measure), metric(measure.metric).title
    parts = [_figure(svg, f"{measure.name}-{number}", measure, tables[0]) for number, svg in enumerate(svgs)]
    parts = parts or ['<p class="soft">No figure: no arm has a finite number.</p>']
    for table in tables:
        rows = [[(_unbroken(cell), "marked" * cell.marked) for cell in row] for row in table.rows]
        notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
        parts += [_table(table.title, table.header, rows), f'<ul class="notes">{notes}</ul>' if notes else ""]
    name = f"{title[0].upper()}{title[1:]}, protocol {measure.protocol}"
    return "<section>\n" + "\n".join([f"<h2>{escape(name)}</h2>", *parts]) + "\n</section>"


def _unbroken(cell: Cell) -> str:
    """The text of a cell that may break before an interval and nowhere else, starred where it is marked."""
    return (cell.text + "*" * cell.marked).replace(" ", "\N{NO-BREAK SPACE}").replace("\N{NO-BREAK SPACE}[", " [")


def _figure(svg: str, name: str, measure: Measure, table: Table) -> str:
    svg = re.sub(r'(\bid="|url\(#)', rf"\g<1>{escape(name)}-", svg)  # inline figures share one space of ids
    label = escape(f"{table.title}, as a figure, an arm each. Its numbers are in the table.")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    axes = "Both axes are" if metric(measure.metric).logarithmic else "The axis of lengths is"
    caption = f"{axes} logarithmic. Names stand at the right ends of the lines, in their order there."
    caption = f"\n<figcaption>{caption}</figcaption>" if name.endswith("-0") else ""
    region = f'<div class="wide" role="region" tabindex="0" aria-label="Figure {escape(name)}">'
    return f"<figure>\n{region}{svg}</div>{caption}\n</figure>"


def _what_was_run(experiment: Experiment) -> str:
    infos = [run.info for run in experiment.runs]
    configs = [info.get("config") or {} for info in infos]
    commits = {str(info["git_commit"])[:SHORT] for info in infos if info.get("git_commit")}
    rows = [row for run in experiment.runs for row in run.rows]
    documents = {(row.get("dataset"), row["document"]) for row in rows}
    seconds = sum(sum((info.get("seconds") or {}).values()) for info in infos)
    facts = {
        "Command": f"<code>{escape(experiment.meta.get('command') or 'not recorded')}</code>",
        "Arms and seeds": f"{len(experiment.arms())} arms; seeds {', '.join(map(str, experiment.seeds()))}",
        "Scored": f"{len(documents):,} documents, {sum(row['n'] for row in rows):,} tokens over all runs and lengths",
        "Pretraining length": f"{pretrain_length(experiment) or 'differs between arms'} tokens",
        "Time": f"{seconds_text(seconds)} for extending and evaluating, all runs together",
        "Model": _joined(_common(config.get("model") for config in configs)),
        "Data": _joined(_common(config.get("data") for config in configs)),
        "Hardware": _joined(_common(info.get("hardware") for info in infos)),
        "Versions": _joined(_common(info.get("versions") for info in infos)),
        "Git commit": escape(", ".join(sorted(commits))),
    }
    items = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    shared = _common(configs)
    settings = "".join(f"<dt><code>{escape(key)}</code></dt><dd>{escape(value)}</dd>" for key, value in shared.items())
    summary = f"<summary>The {len(shared)} settings that all runs share</summary>"
    details = f"<details>\n{summary}\n<dl>{settings}</dl>\n</details>"
    return f"<section>\n<h2>What was run</h2>\n<dl>{items}</dl>\n{details if shared else ''}\n</section>"


def _runs(experiment: Experiment, folder: Path) -> str:
    header = ["arm", "seed", "state", "factor", "trained at", "fingerprint", "files"]
    rows = []
    for run in experiment.runs:
        info = run.info
        state = f"{info.get('state', 'unknown')}{': ' + info['reason'] if info.get('reason') else ''}"
        texts = [run.arm, info["seed"], state, info.get("factor", NOT_EVALUATED), info.get("train_length") or "none"]
        texts.append(str(info.get("fingerprint") or NOT_EVALUATED)[:SHORT])
        cells = [(str(text), "reason" if text is state else "") for text in texts]
        rows.append([*cells, (_links(run, folder), "html")])
    note = "A fingerprint is a hash of what a method does to frequencies, positions and visible pairs."
    table = _table("Runs and their files", header, rows)
    return f'<section>\n<h2>Runs</h2>\n{table}\n<p class="notes">{note}</p>\n</section>'


def _links(run: Run, folder: Path) -> str:
    names = [name for name in ("run.json", "records.jsonl") if (run.folder / name).exists()]
    at = Path(os.path.relpath(run.folder, folder)).as_posix()
    return "&nbsp;".join(f'<a href="{escape(quote(f"{at}/{name}"))}">{name}</a>' for name in names)


def _table(caption: str, header: list[str], rows: list[list[tuple[str, str]]]) -> str:
    """A table that scrolls by itself; a cell is its text and its class, the text of class "html" is not escaped."""
    kinds = ["reason" * any(row[index][1] == "reason" for row in rows) for index in range(len(header))]
    head = "".join(
        f'<th scope="col"{_class(kind)}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True)
    )
    body = []
    for (name, _), *cells in rows:
        line = "".join(f"<td{_class(kind)}>{text if kind == 'html' else escape(text)}</td>" for text, kind in cells)
        body.append(f'<tr><th scope="row">{escape(name)}</th>{line}</tr>')
    lines = "\n".join(body)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>\n</div>"
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _common(values: Iterable[object]) -> dict[str, str]:
    """Settings, by dotted key, that have the same value in all of the nested dictionaries."""
    first, *others = [dict(_flat(value)) for value in values]
    return {key: text for key, text in first.items() if all(other.get(key) == text for other in others)}


def _flat(value: object, key: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif value is not None:
        yield key, str(value)


def _joined(settings: dict[str, str]) -> str:
    return escape(", ".join(f"{key} {value}".strip() for key, value in settings.items()))
