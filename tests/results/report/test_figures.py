"""Figures: their words, colours, labels and ticks."""

from xml.etree import ElementTree

import numpy as np
import pytest
from support.experiment_files import make_row, shown, write_run
from support.many_arms import write_many

from lcx_lightning.results import records
from lcx_lightning.results.analysis import estimates
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report import figures, tables
from lcx_lightning.results.report.look import HIGH, PAGE, for_paper, size_of
from lcx_lightning.results.report.terminal import TerminalTable
from lcx_lightning.results.report.vertical_axis import VerticalAxis

LAST_K = Measure("last_k")


def test_the_svg_names_every_arm_and_the_pretraining_length_and_the_png_is_twice_its_size(experiment, tmp_path):
    svg, png = figures.save(figures.length_figure(experiment, LAST_K), tmp_path, "perplexity")
    text = svg.read_text()
    drawing = ElementTree.fromstring(text)
    for word in (
        "pretrained",
        "pi",
        "clex_blocks",
        "pretraining length L = 128",
        "How far does &lt;it&gt; reach?",
        "4L",
    ):
        assert f">{word}<" in text
    assert "ntk" not in text
    header = png.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20], "big") == pytest.approx(2 * float(drawing.attrib["width"]), abs=2)


def test_twelve_arms_differ_in_colour_and_in_shape_or_dash(tmp_path):
    for order in range(12):
        write_run(tmp_path, f"arm{order}", order=order, nll=1 + order / 50)
    experiment = records.read_experiment(tmp_path)
    points = figures._points(experiment, estimates.estimates(experiment, LAST_K), LAST_K)
    assert len({point["colour"] for point in points}) == 12
    assert len({(point["shape"], str(point["dash"])) for point in points}) == 12


def test_names_keep_their_order_and_distance_and_stay_inside():
    rows = figures._spread([0.0, 1.0, 2.0, 200.0, 429.0, 430.0], PAGE)
    assert np.diff(rows).min() >= figures.LABEL_GAP - 1e-6
    assert rows[0] >= 0
    assert rows[-1] <= PAGE.height
    assert rows[3] == pytest.approx(200.0)


@pytest.mark.parametrize("ends", [(3.2, 60), (3.5, 3.9), (4.0, 9.0), (5, 3e6), (0.9, 1.1), (-4, 104), (-1.0, 1.0)])
def test_ticks_are_few_and_inside(ends):
    ticks = VerticalAxis(*ends, logarithmic=ends[0] > 0).ticks()
    assert 2 <= len(ticks) <= 9
    assert ends[0] <= min(ticks) <= max(ticks) <= ends[1]


@pytest.mark.parametrize("axis", [VerticalAxis(2.0, 50.0, True), VerticalAxis(-4.0, 104.0, False)])
def test_an_axis_puts_a_value_where_it_finds_it(axis):
    assert [axis.pixel(end, 430) for end in (axis.high, axis.low)] == pytest.approx([0, 430])
    assert axis.value(axis.pixel(7.0, 430), 430) == pytest.approx(7.0)


def test_a_figure_of_shares_has_an_axis_of_percent(tmp_path):
    write_run(tmp_path, "lm_infinite", seed=0)
    found = [
        make_row(run="lm_infinite-0", protocol="passkey", metric="accuracy", document=f"{i}", value=float(i > 1), n=1)
        for i in range(4)
    ]
    records.append(tmp_path / "lm_infinite-0" / "records.jsonl", found)
    experiment, measure = records.read_experiment(tmp_path), Measure("passkey", "accuracy")
    assert experiment.measures() == [LAST_K, measure]
    drawing = figures.length_figure(experiment, measure).to_dict()
    assert drawing["layer"][0]["encoding"]["y"]["title"] == "accuracy (%) (higher is better)"
    assert drawing["layer"][0]["encoding"]["y"]["scale"]["type"] == "linear"
    assert "50.0" in shown(TerminalTable(tables.length_table(experiment, measure)))
    assert "4 examples" in shown(TerminalTable(tables.length_table(experiment, measure)))


def test_a_figure_without_numbers_is_refused(tmp_path):
    write_run(tmp_path, "ntk", rows=False, state="failed", reason="no memory")
    with pytest.raises(ValueError, match="finite perplexity"):
        figures.length_figure(records.read_experiment(tmp_path), LAST_K)


def test_a_figure_of_very_many_arms_is_no_higher_than_a_page_and_names_the_best(tmp_path):
    write_many(tmp_path, arms=60, lengths=2, documents=2)
    experiment = records.read_experiment(tmp_path)
    svg = for_paper(lambda look: figures.length_figure(experiment, LAST_K, look))
    assert size_of(svg)[1] <= HIGH
    assert "and 13 more arms, without a name" in svg
    found = estimates.estimates(experiment, LAST_K)
    at = max(place for _, place in found)
    ranked = sorted(experiment.arms(), key=lambda arm: found[arm, at].value)
    named = [arm for arm in ranked if f">{arm}<" in svg]
    assert named == ranked[: figures.NAMES - 1]
