"""Figures: their words, colours, labels and ticks."""

from xml.etree import ElementTree

import numpy as np
import pytest
from recorded import write_run

from lcx_lightning.results import figure, records, statistics


def test_the_svg_names_every_arm_and_the_pretraining_length_and_the_png_is_twice_its_size(experiment, tmp_path):
    svg, png = figure.save(figure.length_figure(experiment, "last_k"), tmp_path, "perplexity")
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
    points = figure._points(experiment, statistics.estimates(experiment, "last_k"))
    assert len({point["colour"] for point in points}) == 12
    assert len({(point["shape"], str(point["dash"])) for point in points}) == 12


def test_names_keep_their_order_and_distance_and_stay_inside():
    rows = figure._spread([0.0, 1.0, 2.0, 200.0, 429.0, 430.0])
    assert np.diff(rows).min() >= figure.LABEL_GAP - 1e-6
    assert rows[0] >= 0
    assert rows[-1] <= figure.HEIGHT
    assert rows[3] == pytest.approx(200.0)


@pytest.mark.parametrize("ends", [(3.2, 60), (3.5, 3.9), (4.0, 9.0), (5, 3e6), (0.9, 1.1)])
def test_ticks_are_few_and_inside(ends):
    ticks = figure._ticks(*ends)
    assert 2 <= len(ticks) <= 9
    assert ends[0] <= min(ticks) <= max(ticks) <= ends[1]


def test_a_figure_without_numbers_is_refused(tmp_path):
    write_run(tmp_path, "ntk", rows=False, state="failed", reason="no memory")
    with pytest.raises(ValueError, match="finite perplexity"):
        figure.length_figure(records.read_experiment(tmp_path), "last_k")
