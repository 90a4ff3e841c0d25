"""Tables in the terminal: whatever its width, no number is cut, and what tables share is said once."""

from io import StringIO

import pytest
from rich.console import Console
from support.experiment_files import make_row, shown, write_run

from lcx_lightning.results import records
from lcx_lightning.results.report.command import markdown, report
from lcx_lightning.results.report.tables import Cell, Table
from lcx_lightning.results.report.terminal import TerminalTable, blocks, fitting

TABLE = Table(
    "name: of something",
    ["arm", *(f"{2**n} ({n}L)" for n in range(7, 19))],
    [
        [Cell(name), *(Cell(f"{n}.25 [0.{n:02}, 1{n}.50]", n == 8) for n in range(7, 19))]
        for name in ("pi", "a b " * 20)
    ],
    ["A note of some words."],
)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_every_number_stands_whole_in_one_line_and_every_block_has_the_names(width):
    lines = shown(TerminalTable(TABLE), width).splitlines()
    assert max(map(len, lines)) <= width
    for row in TABLE.rows:
        for cell in row[1:]:
            assert any(cell.text in line for line in lines)
    found = blocks(TABLE, width)
    assert [index for block in found for index in block] == list(range(1, 13))
    assert sum(line.startswith(" pi ") for line in lines) == len(found)
    assert max(map(len, found)) - min(map(len, found)) <= 2


def test_a_column_that_is_wider_than_all_there_is_stands_alone():
    assert blocks(TABLE, 30) == [[n] for n in range(1, 13)]


def test_what_is_about_the_arms_moves_to_one_table_where_the_terminal_is_narrow():
    table = Table("t", ["arm", "1", "2", "train"], [[Cell("pi"), Cell("1"), Cell("2"), Cell("35 s")]], [], about=1)
    assert fitting([table, table], 80, "times") == [table, table]
    narrow = fitting([table, table], 15, "times")
    assert [one.header for one in narrow] == [["arm", "1", "2"], ["arm", "1", "2"], ["arm", "train"]]
    assert [[cell.text for cell in row] for row in narrow[-1].rows] == [["pi", "35 s"]]
    assert narrow[-1].title == "times"


def test_the_best_number_is_bold_with_a_mark_and_numbers_of_a_column_stay_above_each_other():
    rows = [
        [Cell("a"), Cell("1.25", marked=True, best=True)],
        [Cell("b"), Cell("12.25", marked=True)],
        [Cell("c"), Cell("3.25")],
    ]
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(TerminalTable(Table("t", ["arm", "128"], rows, [])))
    assert "\x1b[1m 1.25*†" in console.file.getvalue()
    assert "\x1b[1m12.25" not in console.file.getvalue()
    lines = shown(TerminalTable(Table("t", ["arm", "128"], rows, []))).splitlines()
    assert len({line.index(".25") for line in lines if ".25" in line}) == 1


def two_protocols(folder):
    for path in folder.glob("*/records.jsonl"):
        rows = records.read(path)
        records.append(path, [row | {"protocol": "whole_window", "n": 16} for row in rows])


def test_notes_that_tables_share_are_said_once_on_the_terminal_on_the_page_and_in_markdown(folder):
    two_protocols(folder)
    console = Console(file=StringIO(), width=120)
    page = report(folder, console)[-1].read_text()
    for text in (console.file.getvalue(), page, markdown(folder)):
        words = " ".join(text.replace("\\", "").split())
        left_out = "clex_blocks at 512: max_factor is 2"
        for once in ("marks the length the arm was trained at", "training the base model", left_out):
            assert words.count(once) == 1, once
        assert words.count("24 tokens scored") == words.count("48 tokens scored") == 1, "each with its table"
        assert words.index("48 tokens scored") < words.index("training the base model")


def test_what_is_of_the_numbers_of_some_tables_stays_with_them(folder):
    """Of four tables two are of perplexities: at the end their spread would be said of the others as well."""
    two_protocols(folder)
    for path in folder.glob("*/records.jsonl"):
        rows = records.read(path)
        records.append(path, [row | {"metric": "f1"} for row in rows if row["protocol"] == "last_k"])
        records.append(path, [row | {"protocol": "again"} for row in rows if row["protocol"] == "last_k"])
    words = " ".join(markdown(folder).split())
    assert words.count("Each number, per seed: 3 documents, 24 tokens scored.") == 1
    assert words.count("Each number, per seed: 3 documents, 48 tokens scored.") == 1
    assert words.count("Each number, per seed: 3 examples.") == 1
    assert words.count("geometric") + words.count("Geometric") == 2


def test_parts_that_cannot_be_compared_have_tables_figures_and_a_sentence_of_their_own(tmp_path):
    for place, length in (("short", 128), ("long", 256)):
        for order, arm in enumerate(("pretrained", "pi")):
            write_run(tmp_path, arm, place=f"{arm}-{place}", order=order, nll=1 + 0.1 * order, pretrain_length=length)
    console = Console(file=StringIO(), width=120)
    paths = report(tmp_path, console)
    page = paths[-1].read_text()
    for text in (console.file.getvalue(), page, markdown(tmp_path)):
        words = " ".join(text.replace("\\", "").split())
        assert words.count("Split by pretraining length (pretrain_length=256 | pretrain_length=128): ") == 1
        for part in (128, 256):
            assert f", pretrain_length={part}: perplexity of the same last tokens" in words
    assert [path.name for path in paths] == [
        "perplexity.svg", "perplexity.png", "perplexity_2.svg", "perplexity_2.png", "index.html"
    ]  # fmt: skip
    assert "128 (1L)" in page
    assert "128 (0.5L)" in page


def test_nothing_is_lost_where_no_number_is_there_yet(tmp_path):
    write_run(tmp_path, "pi", rows=False, state="failed", reason="no memory")
    console = Console(file=StringIO(), width=80)
    report(tmp_path, console)
    assert "no memory" in console.file.getvalue()


def test_rows_of_another_dataset_do_not_enter_the_table_of_the_first(tmp_path):
    """Records whose run says nothing of its evaluations are told apart by the documents that were read."""
    for order, dataset in enumerate(("code", "books", "code")):
        write_run(tmp_path, f"arm{order}", rows=False, order=order)
        records.append(tmp_path / f"arm{order}-0" / "records.jsonl", [make_row(dataset=dataset)])
    console = Console(file=StringIO(), width=120)
    report(tmp_path, console)
    assert "Split of last_k (documents 1 | documents 2): " in console.file.getvalue()
