"""Tables of the report for the page: rows know their arm and columns their length; and the table of the overview."""

from collections.abc import Mapping
from typing import Any

from lcx_lightning.results.report.tables import Cell, Table, starred
from lcx_lightning.results.report.views import View

BEST = 12  # arms in the overview
OPEN = 24  # rows up to which a table is open
VERDICTS = ("reproduced", "not reproduced", "not distinguishable", "not tested")


def web_table(table: Table, arms: Mapping[str, int], places: Mapping[str, float]) -> dict[str, Any]:
    """A table for the template: header with places, rows with the numbers of their arms.

    Args:
        table: The table.
        arms: Numbers of arms by the names that stand in its first column.
        places: Lengths by the headers of their columns.
    """
    return {
        "title": table.title,
        "header": [{"text": name, "place": places.get(name)} for name in table.header],
        "rows": [{"arm": _arm(row[0].text, arms), "cells": [_shown(cell) for cell in row]} for row in table.rows],
        "notes": table.notes,
        "open": len(table.rows) <= OPEN,
        "sentences": table.sentences,
    }


def _arm(name: str, arms: Mapping[str, int]) -> int | None:
    """The number of the arm of a row, of which the name may be followed by a length."""
    return arms.get(name, arms.get(name.rpartition(", ")[0]))


def _shown(cell: Cell) -> dict[str, Any]:
    return {"text": starred(cell), "marked": cell.marked, "best": cell.best}


def overview_table(view: View, data: Mapping[str, Any]) -> dict[str, Any]:
    """The arms, best first: at L, at the longest length, and relative to the reference, as the view's tables say."""
    from lcx_lightning.results.report.labels import arm_label, place_header

    whole, experiment = view.tables[0], view.experiment
    headers = {place: place_header(experiment, view.measure, place) for place in data["places"]}
    last = data["places"][-1] if data["places"] else None
    kept = list(dict.fromkeys(headers[place] for place in (data["L"], last) if place in headers))
    kept += ["holds to"] * ("holds to" in whole.header)
    relative = next((one for one in view.tables[1:] if ", relative to " in one.title), None)
    values = dict(zip(zip(data["values"]["columns"]["arm"], data["values"]["columns"]["place"], strict=True),
                      data["values"]["columns"]["value"], strict=True))  # fmt: skip
    numbers = {arm: number for number, arm in data["labels"].items()}
    names = {arm_label(experiment.runs_of(arm)): numbers[arm] for arm in experiment.arms()}
    sign = -1 if data["better"] == "higher" else 1

    def rank(row: list[Cell]) -> tuple[bool, float]:
        value = values.get((names.get(row[0].text), last))
        return (value is None, sign * (value or 0))

    ordered = sorted(whole.rows, key=rank) if data["better"] else whole.rows
    rows = [[row[0], *(row[whole.header.index(name)] for name in kept)] for row in ordered[:BEST]]
    header = ["arm", *kept]
    if relative and headers.get(last) in relative.header:
        place = relative.header.index(headers[last])
        against = {row[0].text: row[place] for row in relative.rows}
        rows = [[*row, against.get(row[0].text, Cell("1" if relative else ""))] for row in rows]
        header.append(f"{headers[last]}, {relative.title.rpartition(', ')[2].removesuffix(' [95%]')}")
    more = len(ordered) - len(rows)
    notes = [f"The best {BEST} of {len(ordered)} at the longest length; all stand in the table below."] if more else []
    title = f"{whole.title}" + (", best first" if data["better"] else "")
    return web_table(Table(title, header, rows, notes), names, {header: place for place, header in headers.items()})


def verdicts(table: Table) -> dict[str, Any]:
    """A table of claims, each row with its verdicts for the filter, the lines of cells apart."""
    rows = []
    for row in table.rows:
        lines = [cell.text.split("\n") for cell in row]
        found = sorted({one[0] for one in lines[3:]} & {*VERDICTS})
        rows.append({"cells": lines, "verdicts": "|".join(found)})
    return {"title": table.title, "header": table.header, "rows": rows, "notes": table.notes, "verdicts": VERDICTS}
