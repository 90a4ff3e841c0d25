"""Files of a report for a paper: figures as SVG, PDF and PNG, and tables as CSV, Markdown and LaTeX.

A folder of exports may hold files of others. One of the same name is never replaced: the exports of a folder are listed
in it, with hashes of what was written and the name of the experiment.
"""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lcx_lightning.results.records import write_json
from lcx_lightning.results.report.latex import latex_table
from lcx_lightning.results.report.look import for_paper
from lcx_lightning.results.report.tables import Table, escaped, markdown_table
from lcx_lightning.results.report.views import FIGURES, View
from lcx_lightning.schema.files import read_json

LIST = ".lcx_exports.json"
OF_FIGURE, OF_TABLE = (".svg", ".pdf", ".png"), (".csv", ".md", ".tex")
RESOLUTION = 300  # pixels per inch of a PNG
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # how what a spreadsheet computes begins


def export_figures(views: Sequence[View], folder: Path, experiment: str) -> tuple[list[Path], list[str]]:
    """Write the figures of views in the size of a paper's column; return the paths, and sentences on those missing.

    Raises:
        ValueError: If a file in the way is no export of the experiment. Nothing has been drawn then.
    """
    names = [f"{view.name}{end}{kind}" for view in views for end in FIGURES for kind in OF_FIGURE]
    listed = check_folder(folder, names, experiment)
    found: dict[str, bytes] = {}
    missing = []
    for view in views:
        try:
            found |= {f"{view.name}{end}": content for end, content in _drawn(view)}
        except ValueError as error:  # every arm diverged: the table says so
            missing.append(f"No figure: {error}")
    return write(folder, found, listed, experiment), missing


def _drawn(view: View) -> Iterator[tuple[str, bytes]]:
    """The figures of a view by the end of their files' names."""
    import vl_convert

    for end, figure in FIGURES.items():
        svg = for_paper(lambda look, figure=figure: figure(view.experiment, view.measure, look))
        if svg is not None:
            yield f"{end}.svg", in_points(svg).encode()
            yield f"{end}.pdf", vl_convert.svg_to_pdf(svg)
            yield f"{end}.png", vl_convert.svg_to_png(svg, ppi=RESOLUTION)


def export_tables(tables: Mapping[str, Table], folder: Path, experiment: str) -> list[Path]:
    """Write tables by their names in CSV, Markdown and LaTeX, and return the paths.

    Raises:
        ValueError: If a file in the way is no export of the experiment.
    """
    listed = check_folder(folder, [f"{name}{kind}" for name in tables for kind in OF_TABLE], experiment)
    found: dict[str, bytes] = {}
    for name, table in tables.items():
        markdown = f"{escaped(table.title)}\n\n{markdown_table(table)}"
        texts = (csv_text(table.numbers), markdown, latex_table(table, name))
        found |= {f"{name}{kind}": text.encode() for kind, text in zip(OF_TABLE, texts, strict=True)}
    return write(folder, found, listed, experiment)


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with all columns that any has: numbers in full, nothing for an unknown one, texts in quotes.

    A text that a spreadsheet would compute has an apostrophe before it, which spreadsheets do not show.
    """
    rows = list(rows)
    file = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(row.get(name, "")) for name in columns] for row in rows)
    return file.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" ").startswith(FORMULAS) else value
    return "" if value is None or math.isnan(value) else value


def in_points(svg: str) -> str:
    """A drawing that is as large in points as it was in pixels, which other programs take for 1/96 inch."""
    head, rest = svg.split(">", 1)
    for side in ("width", "height"):
        before, after = head.split(f' {side}="', 1)
        size, after = after.split('"', 1)
        head = f'{before} {side}="{size}pt"{after}'
    return f"{head}>{rest}"


def check_folder(folder: Path, names: Iterable[str], experiment: str) -> dict[str, dict[str, str]]:
    """The exports that a folder lists, by name of the file: their hash, and their experiment.

    Raises:
        ValueError: If it is no folder, or one of the names is that of a file that is no export of the experiment.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"A folder is needed for exports, and {folder} is a file: give another name.")
    advice = f"Move it away, with the exports of {folder}."
    listed = read_json(folder / LIST, advice) if (folder / LIST).exists() else {}
    for path in (folder / name for name in names):
        if not path.exists():
            continue
        known = listed.get(path.name)
        if not isinstance(known, dict):
            raise ValueError(f"{path} is there already, and no export: move it away, or give another folder.")
        if not path.is_file() or known.get("sha256") != _hash(path.read_bytes()):
            raise ValueError(f"{path} has changed since it was exported: move it away, or give another folder.")
        if known.get("experiment") != experiment:
            raise ValueError(
                f"{path} is an export of {known.get('experiment')}, and not of {experiment}: give another folder."
            )
    return listed


def write(folder: Path, found: Mapping[str, bytes], listed: dict[str, dict[str, str]], experiment: str) -> list[Path]:
    """Write files by name into a folder, list them there, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    new = {name: {"experiment": experiment, "sha256": _hash(content)} for name, content in found.items()}
    write_json(folder / LIST, listed | new)
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in found]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
