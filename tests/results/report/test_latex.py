"""Tables in LaTeX: names stay text, digits are those of the terminal, and rows fit a column or the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tex import cells, printed

from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report.labels import NOT_EVALUATED
from lcx_lightning.results.report.latex import COLUMN, TEXT, escaped, latex_table
from lcx_lightning.results.report.tables import Cell, Table, length_table, starred
from lcx_lightning.results.report.terminal import blocks

EVIL = r"a_b & 50% $x$ #1 \cmd{y}"
SCRIPT = "</script><script>alert(1)</script>"
WIDE = Table("t", ["arm", *map(str, range(12))], [[Cell("pi"), *[Cell("1.25 [0.75, 1.50]")] * 12]], [])


@pytest.mark.parametrize(
    "text", [EVIL, SCRIPT, "?`!`--,,''``\"<<>>", "^^41 ~ |x| [a] *b*", f"4.31 ±0.05, ≥32L {NOT_EVALUATED} † …", "a%\nb"]
)
def test_whatever_is_written_is_printed_and_does_nothing(text):
    assert printed(escaped(text)) == " ".join(text.split())


@given(st.text(alphabet=st.characters(codec="ascii") | st.sampled_from(f"±≥†…é{NOT_EVALUATED}")))
def test_any_text_is_printed_and_does_nothing(text):
    plain = "".join(one if one.isprintable() else " " for one in text)
    assert printed(escaped(text)) == " ".join(plain.split())


def test_the_check_itself_finds_what_would_have_an_effect():
    for text in ("a_b", "50%", "\\cmd{}", "{", "a--b", "\\textbar x", "$x$"):
        with pytest.raises(AssertionError):
            printed(text)


@pytest.mark.parametrize("name", [EVIL, SCRIPT, "[a]", "*a"])
def test_names_stay_text_in_every_place_of_a_table(name):
    tex = latex_table(Table(name, [name, name], [[Cell(name), Cell(name)], [Cell("b"), Cell(name)]], [name]), "a")
    shown = [["".join(text.split()) for text in row] for row in cells(tex)]  # a long name stands in several lines
    plain = "".join(name.split())
    assert shown == [[plain, plain], [plain, plain], ["b", plain]]
    assert f"\\caption{{{escaped(name)}}}" in tex
    assert not any(line.startswith(("[", "*")) for line in tex.splitlines()[:-3]), "an argument of the line before"
    assert tex.count("\\begin{") == tex.count("\\end{")


def test_the_numbers_are_those_of_the_terminal_and_the_best_are_bold(experiment):
    table = length_table(experiment, Measure("last_k"))
    tex = latex_table(table, "perplexity")
    found = {row[0]: row[1:] for row in cells(tex)[2:]}
    for row in table.rows:
        shown = [starred(cell) for cell in row]
        assert found[shown[0]][: len(shown) - 4] == shown[1:-3]
    assert tex.count("\\textbf{") == sum(cell.best for row in table.rows for cell in row)
    for part in ("\\toprule", "\\midrule", "\\bottomrule", "\\label{tab:perplexity}", "\\usepackage{booktabs}"):
        assert part in tex


def test_a_best_number_is_bold_and_others_of_its_column_leave_room_for_its_mark():
    rows = [[Cell("a"), Cell("1.00", best=True)], [Cell("b"), Cell("2.00")]]
    tex = latex_table(Table("t", ["arm", "128"], rows, []), "t")
    assert "a & \\textbf{1.00\\textdagger{}} \\\\" in tex
    assert "b & 2.00\\phantom{*} \\\\" in tex


def test_a_table_that_fits_a_column_is_one_and_a_wide_one_is_cut_into_blocks():
    narrow = Table("t", ["arm", "128", "256"], [[Cell("pi"), Cell("1.25"), Cell("2.25")]], [])
    assert "\\begin{table}" in latex_table(narrow, "t")
    assert len(blocks(WIDE, COLUMN)) > 1
    tex = latex_table(WIDE, "t")
    assert "\\begin{table*}" in tex
    assert tex.count("\\begin{tabular}") == len(blocks(WIDE, TEXT)) > 1
    assert sum(row.count("1.25 [0.75, 1.50]") for row in cells(tex)) == 12


def test_sentences_are_broken_into_lines():
    rows = [[Cell("a & b"), Cell("reproduced\np < 0.001")]]
    tex = latex_table(Table("t", ["claim", "model (L = 128)"], rows, ["n"], sentences=True), "claims")
    assert "{\\raggedright reproduced \\newline p \\textless{} 0.001\\par} \\\\" in tex
    assert tex.count("p{\\dimexpr(\\linewidth-2\\tabcolsep)/2\\relax}") == 2  # both, and what is between, fill the text


CLAIMS = [[Cell(f"claim {n}"), Cell("a sentence of some length " * 6), Cell("reproduced\np = 0.01")] for n in range(30)]


def test_a_table_that_is_higher_than_a_page_breaks_over_pages_with_its_header_on_each():
    tex = latex_table(Table("t", ["claim", "paper", "ours"], CLAIMS, ["a note"], sentences=True), "claims")
    assert "\\usepackage{booktabs,longtable}" in tex
    assert "\\begin{table" not in tex
    assert tex.count("\\begin{longtable}") == tex.count("\\end{longtable}") == 1
    heads = [tex.index(command) for command in ("\\endfirsthead", "\\endhead", "\\endfoot", "claim 0")]
    assert heads == sorted(heads)
    assert tex.count("claim & paper & ours \\\\") == 2
    assert tex.count("\\caption{t}\\label{tab:claims}") == 1
    assert all(f"claim {n}\\par}}" in tex for n in range(30))
    assert tex.index("a note") > tex.index("\\end{longtable}")
    short = latex_table(Table("t", ["claim", "paper", "ours"], CLAIMS[:3], [], sentences=True), "claims")
    assert "\\begin{table*}" in short


@pytest.mark.parametrize(
    ("rows", "notes"),
    [
        ([[Cell("arm"), Cell("1")]] * 56, []),
        ([[Cell("arm"), Cell("1")]] * 40, ["A note of one line."] * 60),
        ([[Cell("pretrained training=none mixture.corpus=0.5"), *[Cell("1.25 [0.75, 1.50]")] * 3]] * 40, []),
    ],
)
def test_notes_and_names_of_several_lines_count_to_the_height_of_a_table(rows, notes):
    header = ["arm", "128 (1L)", "256 (2L)", "512 (4L)"][: len(rows[0])]
    assert "\\begin{longtable}" in latex_table(Table("t", header, rows, notes), "t")
    assert "\\begin{longtable}" not in latex_table(Table("t", header, rows[:20], notes[:20]), "t")


def test_notes_below_a_table_that_breaks_over_pages_may_break_too():
    tex = latex_table(Table("t", ["arm", "1"], [[Cell("a"), Cell("1")]] * 60, ["One.", "Two."]), "t")
    assert "\\parbox" not in tex
    assert tex.endswith("\\end{longtable}\n\\noindent\\raggedright\nOne.\nTwo.\n\\par\n}\n")


def test_blocks_of_a_long_table_are_one_table_with_one_number():
    rows = [[Cell(f"arm{n}"), *[Cell("1.25 [0.75, 1.50]")] * 12] for n in range(60)]
    tex = latex_table(Table("t", WIDE.header, rows, []), "wide")
    count = len(blocks(Table("t", WIDE.header, rows, []), TEXT))
    assert tex.count("\\begin{longtable}") == count > 1
    assert tex.count("\\addtocounter{table}{-1}") == count - 1
    assert tex.count("\\label{") == 1
    assert "\\caption{t (continued)} \\\\" in tex
