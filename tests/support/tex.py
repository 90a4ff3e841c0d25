"""A reader of TeX's input by its category codes (The TeXbook, chapter 7), for text that must have no effect."""

import re

TOKEN = re.compile(r"\\([A-Za-z]+|.)|([{}])|([$&#_^~%])|([^\\{}$&#_^~%])", re.DOTALL)
SIGNS = {
    "textbackslash": "\\",
    "textasciicircum": "^",
    "textasciitilde": "~",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textasciigrave": "`",
    "textquotesingle": "'",
    "textendash": "\N{EN DASH}",
    "textdagger": "\N{DAGGER}",
    "ldots": "\N{HORIZONTAL ELLIPSIS}",
}
LIGATURES = ("--", ",,", "``", "''", "?`", "!`", "<<", ">>")
MATH = {"$\\pm$": "\N{PLUS-MINUS SIGN}", "$\\ge$": "\N{GREATER-THAN OR EQUAL TO}"}


def printed(text):
    """Return what TeX prints of a text; an AssertionError where it would do anything else."""
    for command, sign in MATH.items():
        text = text.replace(command, sign)
    text = text.replace("\\char34{}", '"')
    assert not any(pair in text for pair in LIGATURES), text
    depth, found, place = 0, "", 0
    while place < len(text):
        token = TOKEN.match(text, place)
        assert token, text[place:]
        command, brace, special, letter = token.groups()
        assert not special, f"{special} in {text}"
        place = token.end()
        if command:
            ends = command.isalpha()
            assert not ends or text.startswith("{}", place), f"\\{command} eats what follows"
            place += 2 * ends
            found += SIGNS.get(command) or named(command)
        depth += {"{": 1, "}": -1}.get(brace, 0)
        assert depth >= 0, text
        found += letter or ""
    assert depth == 0, text
    return found


def named(command):
    """Return the sign that a command of one sign prints."""
    assert command in "{}$&#%_", f"\\{command} is a command"
    return command


def cells(tex):
    """Return the rows of the tabulars of a table, split where TeX splits them: what is printed, and no commands."""
    body = re.sub(r"\\(?:phantom\{\*\}|toprule|midrule|bottomrule)", "", tex)
    body = re.sub(r"\\textbf\{((?:[^{}]|\{\})*)\}", r"\1", body)
    body = re.sub(r"\\begin\{tabular\}\[t\]\{@\{\}l@\{\}\}(.*?)\\end\{tabular\}", _in_a_line, body)
    rows = [re.split(r"(?<!\\)&", line[:-3]) for line in body.splitlines() if line.endswith(r" \\")]
    return [[printed(cell.strip()) for cell in row] for row in rows]


def _in_a_line(lines):
    return lines[1].replace(r" \\ ", " ")
