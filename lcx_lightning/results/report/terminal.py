"""Tables in the terminal, in as many blocks of columns as its width asks for: no number is ever cut."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lcx_lightning.results.report.tables import Cell, Table, starred

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

GAP = 2  # characters between columns, and at the edges of a table
NAMED = 24  # characters of an arm's name in a line, at least


class TerminalTable:
    """A table for `Console.print`: its title, its columns in blocks that fit, and its notes."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        from rich.text import Text

        yield Text(self.table.title, style="bold")
        for columns in blocks(self.table, options.max_width):
            yield _block(self.table, columns, options.max_width)
        yield from map(Text, self.table.notes)
        yield Text("")


def fitting(tables: Sequence[Table], width: int, title: str) -> list[Table]:
    """The tables; where one is wider than the terminal, what is about the arms is in a last table of that title."""
    if all(len(blocks(table, width)) == 1 for table in tables if table.about):
        return [*tables]
    rows: dict[str, list[Cell]] = {}
    narrow, header = [], []
    for table in tables:
        last = len(table.header) - table.about
        narrow.append(replace(table, header=table.header[:last], rows=[row[:last] for row in table.rows], about=0))
        if table.about:
            header = [table.header[0], *table.header[last:]]
            for row in table.rows:
                rows.setdefault(row[0].text, [row[0], *row[last:]])
    return [*narrow, Table(title, header, [*rows.values()], [])]


def blocks(table: Table, width: int) -> list[list[int]]:
    """Indices of columns, but for that of the names, in lists of about equal length that each fit beside the names."""
    widths = [max(map(len, text.splitlines()), default=0) + GAP for text in _widest(table, width)]
    room = width - widths[0] - GAP
    fewest = len(_filled(widths, room, len(widths)))
    return _filled(widths, room, math.ceil((len(widths) - 1) / max(fewest, 1)))


def _filled(widths: list[int], room: int, most: int) -> list[list[int]]:
    """Indices of columns in lists that have room, and at least one and at most so many members."""
    found: list[list[int]] = [[]]
    for index in range(1, len(widths)):
        if found[-1] and (sum(widths[i] for i in [*found[-1], index]) > room or len(found[-1]) == most):
            found.append([])
        found[-1].append(index)
    return found


def _widest(table: Table, width: int) -> list[str]:
    """All texts of each column, as they are shown, below each other."""
    lines = [header_of(table), *(texts_of(table, row, width) for row in table.rows)]
    return ["\n".join(column) for column in zip(*lines, strict=True)]


def header_of(table: Table) -> list[str]:
    """The names of the columns, in lines."""
    return [name.replace(" (", "\n(") for name in table.header]


def texts_of(table: Table, row: list[Cell], width: int) -> list[str]:
    """The cells of a row: a name in lines of a third of the width, numbers of a column with marks above each other."""
    texts = [starred(cell) for cell in row]
    for index, cell in enumerate(row):
        marks = max(_marks(one[index]) for one in table.rows)
        texts[index] += " " * (marks - _marks(cell)) * bool(index)
    if table.sentences:
        return [_wrapped(text, max(NAMED, width // len(texts) - GAP - 1)) for text in texts]
    return [_wrapped(texts[0].replace(" (", "\n("), max(NAMED, width // 3)), *texts[1:]]


def _marks(cell: Cell) -> int:
    return cell.marked + cell.best


def _wrapped(text: str, width: int) -> str:
    return "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, width))


def _block(table: Table, columns: list[int], width: int) -> "RenderableType":
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    widths = [max(map(len, text.splitlines()), default=0) for text in _widest(table, width)]
    places = [0 if table.sentences or not index else widths[index] for index in range(len(widths))]
    header = header_of(table)
    for index in (0, *columns):
        rich.add_column(Text(_right(header[index], places[index])), no_wrap=True)
    for place, row in enumerate(table.rows):
        texts = texts_of(table, row, width)
        if place and table.sentences:
            rich.add_section()
        bold = ["bold" if cell.best else "" for cell in row]
        rich.add_row(*(Text(_right(texts[index], places[index]), bold[index]) for index in (0, *columns)))
    return rich


def _right(text: str, width: int) -> str:
    """Lines that end at a width: rich would cut the blanks off that stand for the marks of others."""
    return "\n".join(line.rjust(width) for line in text.splitlines())
