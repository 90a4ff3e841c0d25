"""Tables in LaTeX, with the rules of the package booktabs: in as many blocks of columns as a text is wide."""

import math
import re

from lcx_lightning.results.report.tables import Table
from lcx_lightning.results.report.terminal import blocks, fitting, header_of, texts_of

COLUMN, TEXT = 52, 88  # letters of \footnotesize (4.3 pt each) in a column of 3.25 in, and in a text of 5.5 in
HEAD = "% A table of LCX Lightning. It needs \\usepackage{booktabs} in the preamble."
LONG_HEAD = (
    "% A table of LCX Lightning. It needs \\usepackage{booktabs,longtable} in the preamble, and \\onecolumn before it "
    "in a text of two columns."
)
PAGE = 54  # lines of a page at \\footnotesize (9.5 pt each), without the caption
SMALL = "\\footnotesize\\setlength{\\tabcolsep}{3pt}"
COMMANDS = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "$": "\\$",
    "&": "\\&",
    "#": "\\#",
    "%": "\\%",
    "_": "\\_",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "\\char34{}",  # alone it begins a command of some languages of babel
    "`": "\\textasciigrave{}",
    "'": "\\textquotesingle{}",
    "\N{EN DASH}": "\\textendash{}",
    "\N{PLUS-MINUS SIGN}": "$\\pm$",
    "\N{GREATER-THAN OR EQUAL TO}": "$\\ge$",
    "\N{LESS-THAN OR EQUAL TO}": "$\\le$",
    "\N{MULTIPLICATION SIGN}": "$\\times$",
    "\N{HORIZONTAL ELLIPSIS}": "\\ldots{}",
    "\N{DAGGER}": "\\textdagger{}",
}
LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)|(?<=[?!])(?=\\textasciigrave)")


def escaped(text: str) -> str:
    """A text as it is, for LaTeX; what is no letter, sign or blank of a line becomes a blank."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return LIGATURES.sub("{}", "".join(COMMANDS.get(character, character) for character in " ".join(plain.split())))


def latex_table(table: Table, label: str) -> str:
    """The table as a float with caption, label and notes: of one column if it fits there, else as wide as the text.

    One that is higher than a page is no float, and breaks over pages.
    """
    narrow = not table.sentences and all(len(blocks(part, COLUMN)) == 1 for part in fitting([table], COLUMN, ""))
    if _lines_of(table, COLUMN if narrow else TEXT) > PAGE:
        return _over_pages(table, label)
    name, width = ("table", COLUMN) if narrow else ("table*", TEXT)
    tabulars = [_tabular(part, columns, width) for part, columns in _parts(table, width)]
    lines = [HEAD, f"\\begin{{{name}}}", "\\centering"]
    lines += [f"\\caption{{{escaped(table.title)}}}", f"\\label{{tab:{label}}}"]
    lines += [SMALL, "\n\\par\\medskip\n".join(tabulars)]
    return "\n".join([*lines, *_notes(table), f"\\end{{{name}}}", ""])


def _over_pages(table: Table, label: str) -> str:
    """The table as one that breaks between rows, with its header on every page."""
    lines = [LONG_HEAD, f"{{{SMALL}"]
    for number, (part, columns) in enumerate(_parts(table, TEXT)):
        kinds, head, rows = _content(part, columns, TEXT)
        again = f"\\multicolumn{{{len(columns) + 1}}}{{@{{}}l@{{}}}}{{\\textit{{continued}}}} \\\\"
        caption = escaped(f"{table.title} (continued)" if number else table.title)
        lines += ["\\addtocounter{table}{-1}"] if number else []
        lines += [f"\\begin{{longtable}}{{{kinds}}}", f"\\caption{{{caption}}}"]
        lines[-1] += " \\\\" if number else f"\\label{{tab:{label}}} \\\\"
        lines += ["\\toprule", *head, "\\midrule", "\\endfirsthead"]
        lines += [again, "\\toprule", *head, "\\midrule", "\\endhead"]
        lines += ["\\bottomrule", "\\endfoot", *rows, "\\end{longtable}"]
    notes = ["\\noindent\\raggedright", *map(escaped, table.notes), "\\par"] if table.notes else []
    return "\n".join([*lines, *notes, "}", ""])


def _lines_of(table: Table, width: int) -> int:
    """How many lines a table takes with its notes, about: a sentence is broken where its column, or the text, ends."""
    notes = math.ceil(len(" ".join(table.notes)) / width)
    if not table.sentences:
        return notes + sum(_lines_of_block(part, width) for part, _ in _parts(table, width))
    column = 0.94 * TEXT / len(table.header)
    texts = [[cell.text.splitlines() or [""] for cell in row] for row in table.rows]
    rows = (max(sum(max(1, math.ceil(len(one) / column)) for one in cell) for cell in row) for row in texts)
    return notes + 1 + sum(rows)


def _lines_of_block(table: Table, width: int) -> int:
    """The lines of a header and of rows, whose names may be broken."""
    head = max(len(name.splitlines()) for name in header_of(table))
    return head + sum(max(len(text.splitlines() or [""]) for text in texts_of(table, row, width)) for row in table.rows)


def _parts(table: Table, width: int) -> list[tuple[Table, list[int]]]:
    """The table, or those that it is made into to fit a width, each with the columns of every block."""
    if table.sentences:
        return [(table, [*range(1, len(table.header))])]
    return [(part, columns) for part in fitting([table], width, "") for columns in blocks(part, width)]


def _notes(table: Table) -> list[str]:
    """The notes below a float."""
    notes = "\n".join(escaped(note) for note in table.notes)
    return ["\\par\\smallskip", f"\\parbox{{\\linewidth}}{{\\raggedright\n{notes}}}"] if notes else []


def _tabular(table: Table, columns: list[int], width: int) -> str:
    """The names and some of the columns."""
    kinds, head, rows = _content(table, columns, width)
    lines = [f"\\begin{{tabular}}{{{kinds}}}", "\\toprule", *head, "\\midrule", *rows, "\\bottomrule"]
    return "\n".join([*lines, "\\end{tabular}"])


def _content(table: Table, columns: list[int], width: int) -> tuple[str, list[str], list[str]]:
    """The kinds of the columns, the lines of the header and those of the rows: the names and some of the columns."""
    shown = (0, *columns)
    share = f"p{{\\dimexpr(\\linewidth-{2 * len(columns)}\\tabcolsep)/{len(shown)}\\relax}}"
    kinds = share * len(shown) if table.sentences else "l" + "r" * len(columns)
    names = [header_of(table)[index].splitlines() for index in shown]
    head = [[name[line] if line < len(name) else "" for name in names] for line in range(max(map(len, names)))]
    rows = []
    for row in table.rows:
        texts = [cell.text for cell in row] if table.sentences else texts_of(table, row, width)
        rows.append(_row([_cell(texts[index], row[index].best, table.sentences) for index in shown]))
    return f"@{{}}{kinds}@{{}}", [_row([escaped(text) for text in line]) for line in head], rows


def _row(cells: list[str]) -> str:
    return " & ".join([_first(cells[0]), *cells[1:]]) + " \\\\"


def _first(text: str) -> str:
    """The first text of a row: the command before it would read a bracket or an asterisk as its own."""
    return f"{{{text}}}" if text[:1] in ("[", "*") else text


def _cell(text: str, best: bool, sentence: bool) -> str:
    lines = [escaped(line) for line in text.splitlines()]
    if sentence:
        return "{\\raggedright " + " \\newline ".join(lines) + "\\par}"
    if len(lines) > 1:
        return "\\begin{tabular}[t]{@{}l@{}}" + " \\\\ ".join(map(_first, lines)) + "\\end{tabular}"
    room = "\\phantom{*}" * (len(text) - len(text.rstrip()))  # of the marks that others of the column have
    return (f"\\textbf{{{lines[0]}}}" if best else "".join(lines)) + room
