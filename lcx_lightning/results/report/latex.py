"""Tables in LaTeX, with the rules of the package booktabs: in as many blocks of columns as a text is wide."""

import re

from lcx_lightning.results.report.tables import Table
from lcx_lightning.results.report.terminal import blocks, fitting, header_of, texts_of

COLUMN, TEXT = 52, 88  # letters of \footnotesize (4.3 pt each) in a column of 3.25 in, and in a text of 5.5 in
HEAD = "% A table of LCX Lightning. It needs \\usepackage{booktabs} in the preamble."
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
    """The table as a float with caption, label and notes: of one column if it fits there, else as wide as the text."""
    narrow = not table.sentences and all(len(blocks(part, COLUMN)) == 1 for part in fitting([table], COLUMN, ""))
    name, width = ("table", COLUMN) if narrow else ("table*", TEXT)
    parts = [table] if table.sentences else fitting([table], width, "")
    tabulars = [_tabular(part, columns, width) for part in parts for columns in _columns(part, width)]
    notes = "\n".join(escaped(note) for note in table.notes)
    lines = [HEAD, f"\\begin{{{name}}}", "\\centering"]
    lines += [f"\\caption{{{escaped(table.title)}}}", f"\\label{{tab:{label}}}"]
    lines += ["\\footnotesize", "\\setlength{\\tabcolsep}{3pt}", "\n\\par\\medskip\n".join(tabulars)]
    lines += ["\\par\\smallskip", f"\\parbox{{\\linewidth}}{{\\raggedright\n{notes}}}"] if notes else []
    return "\n".join([*lines, f"\\end{{{name}}}", ""])


def _columns(table: Table, width: int) -> list[list[int]]:
    return [list(range(1, len(table.header)))] if table.sentences else blocks(table, width)


def _tabular(table: Table, columns: list[int], width: int) -> str:
    """The names and some of the columns."""
    shown = (0, *columns)
    share = f"p{{{0.94 / len(shown):.2f}\\linewidth}}"
    kinds = share * len(shown) if table.sentences else "l" + "r" * len(columns)
    names = [header_of(table)[index].splitlines() for index in shown]
    head = [[name[line] if line < len(name) else "" for name in names] for line in range(max(map(len, names)))]
    lines = [f"\\begin{{tabular}}{{@{{}}{kinds}@{{}}}}", "\\toprule"]
    lines += [_row([escaped(text) for text in line]) for line in head] + ["\\midrule"]
    for row in table.rows:
        texts = [cell.text for cell in row] if table.sentences else texts_of(table, row, width)
        lines.append(_row([_cell(texts[index], row[index].best, table.sentences) for index in shown]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


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
