"""Tables for the terminal and in Markdown, checked against numbers made by hand."""

import pytest
from support.experiment_files import shown, write_run

from lcx_lightning.results import metrics, records
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report import labels, tables
from lcx_lightning.results.report.dashboard.tables import web_table
from lcx_lightning.results.report.terminal import TerminalTable

LAST_K = Measure("last_k")


def test_the_tables_numbers_are_right_and_the_training_length_is_marked(experiment):
    found = tables.length_table(experiment, LAST_K)
    assert found.header == ["arm", "128 (1L)", "256 (2L)", "512 (4L)", "holds to", "train", "eval", "hash"]
    by_arm = {row[0].text: row[1:] for row in found.rows}
    assert list(by_arm) == ["pretrained", "pi", "clex_blocks", "ntk (skipped)"]
    assert [cell.marked for cell in by_arm["pi"]] == [False, False, True, False, False, False, False]
    assert by_arm["clex_blocks"][0].text == "2.25 ±0.00"  # exp(.81), twice the same
    assert by_arm["clex_blocks"][2].text == labels.NOT_EVALUATED
    assert not any(cell.marked for cell in by_arm["pretrained"])
    # pi at 512: NLL 1.11 and 1.13; t(.975, 1) = 12.706, so 1.12 ± .127: 3.06, from 2.70 to 3.48
    assert by_arm["pi"][2].text == "3.06 ±0.39"
    assert [cell.text for cell in by_arm["pi"][3:]] == ["1L", "30 s", "6.0 s", "012345"]


def test_the_table_shows_each_arms_fingerprint_and_whether_its_seeds_agree(folder):
    write_run(folder, "pi", seed=1, order=1, fingerprint="fedcba9876543210")
    write_run(folder, "clex_blocks", seed=0, order=2, fingerprint=None)
    write_run(folder, "clex_blocks", seed=1, order=2, fingerprint=None)
    found = tables.length_table(records.read_experiment(folder), LAST_K)
    assert [row[-1].text for row in found.rows] == ["012345", "differ", labels.NOT_EVALUATED, "012345"]
    assert any("arms that share it do the same before training" in note for note in found.notes)


def test_an_interval_too_lopsided_for_a_half_width_is_given_itself(folder):
    write_run(folder, "pi", seed=1, nll=1.0, order=1, train_length=512)
    found = tables.length_table(records.read_experiment(folder), LAST_K)
    # NLL at 128: .91 and (the second writing holds) 1.01: .96 ± 12.706 * .05 = .635
    assert found.rows[1][1].text == "2.61 [1.38, 4.93]"


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_arms_marks_and_reasons(experiment, width):
    text = shown(TerminalTable(tables.length_table(experiment, LAST_K)), width)
    words = (
        "clex_blocks",
        "ntk",
        "(skipped)",
        "0.39*",
        "clex_blocks at 512: max_factor is 2",
        "equals pretrained",
        "2.0 min",
    )
    for word in words:
        assert word in text
    assert max(map(len, text.splitlines())) <= width


def test_the_markdown_table_is_as_wide_as_its_header_and_escapes(folder):
    write_run(folder, "a|b <i>", order=5)
    text = tables.markdown_table(tables.length_table(records.read_experiment(folder), LAST_K))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "| **3.06 ±0.39\\*†** |" in text
    assert r"a\|b \<i\>" in text
    assert len(lines) == 2 + 5


def test_numbers_of_an_unfinished_arm_stand_in_parentheses_with_the_reason(folder):
    write_run(folder, "yarn", order=5, state="failed", reason="ValueError: [bold] no memory")
    experiment = records.read_experiment(folder)
    for text in (
        shown(TerminalTable(tables.length_table(experiment, LAST_K))),
        tables.markdown_table(tables.length_table(experiment, LAST_K)),
    ):
        assert "(2.75)" in text  # exp(1.01)
        assert "no memory" in " ".join(text.split())
    assert "yarn (failed)" in tables.markdown_table(tables.length_table(experiment, LAST_K))


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.306, "4.31"), (9.996, "10.0"), (51.23, "51.2"), (99.96, "100"), (1234.5, "1,234"), (2e6, "2.0e+06")],
)
def test_perplexities_have_three_figures(value, text):
    assert metrics.perplexity_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (0.42, "0.4 s"), (35.2, "35 s"), (408, "6.8 min"), (8280, "2.3 h")]
)
def test_times_are_rounded_for_reading(seconds, text):
    assert labels.seconds_text(seconds) == text


def test_the_best_of_a_column_is_marked_where_every_arm_can_be_told_from_it(folder):
    """clex_blocks is the best where it has a number; at 512 two seeds do not tell pi from pretrained."""
    write_run(folder, "pi", 1, nll=0.935, order=1)
    for seed in (0, 1):
        nll, absent = 0.2 + 0.001 * seed, {"512": "max_factor is 2"}
        write_run(folder, "clex_blocks", seed, nll=nll, order=2, not_evaluated=absent)
    found = tables.length_table(records.read_experiment(folder), LAST_K)
    best = {row[0].text: [cell.best for cell in row[1:4]] for row in found.rows}
    assert best["clex_blocks"] == [True, True, False]
    assert not any(best["pretrained"] + best["pi"] + best["ntk (skipped)"])
    assert [number["best"] for number in found.numbers if number["arm"] == "clex_blocks"] == [True, True]
    assert tables.BEST_NOTE in found.notes
    assert "their number needs no correction" in tables.BEST_NOTE
    on_page = [cell for row in web_table(found, {}, {})["rows"] for cell in row["cells"] if cell["best"]]
    assert [cell["text"][-1] for cell in on_page] == [tables.BEST] * 2
    assert "**1.23 ±0.01†**" in tables.markdown_table(found)  # exp(.2105), ± 12.706 * .0005 of itself


def test_without_a_best_number_nothing_is_marked_and_nothing_said(tmp_path):
    for order, arm in enumerate(("pretrained", "window_only")):
        write_run(tmp_path, arm, order=order)
    found = tables.length_table(records.read_experiment(tmp_path), LAST_K)
    assert not any(cell.best for row in found.rows for cell in row)
    assert tables.BEST_NOTE not in found.notes
    assert "**" not in tables.markdown_table(found)


def test_an_unfinished_arm_is_neither_best_nor_a_rival(folder):
    write_run(folder, "pi", 0, nll=0.001, order=1, state="failed")
    write_run(folder, "pi", 1, nll=0.001, order=1, state="failed")
    for seed in (0, 1):
        write_run(folder, "clex_blocks", seed, nll=0.2 + 0.001 * seed, order=2)
    rows = tables.length_table(records.read_experiment(folder), LAST_K).rows
    assert [row[0].text for row in rows if row[1].best] == ["clex_blocks"]
