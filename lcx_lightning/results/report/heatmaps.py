"""Scores by context length and depth, as heatmaps: one for each arm."""

import math
from typing import TYPE_CHECKING

from lcx_lightning.results.analysis.estimates import arm_rows, score
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.figures import FAINT, INK, styled
from lcx_lightning.results.report.labels import arm_label, described, length_header
from lcx_lightning.results.report.look import PAGE, Look

if TYPE_CHECKING:
    import altair

CELL, GAP, LETTER = 26, 20, 7.5  # pixels of a page: a cell, between heatmaps, a letter of an arm's name
COLOURS = ["#8c2d04", "#f7f4ef", "#08519c"]  # nothing, half, everything: both ends are equally darker than the middle


def depth_figure(experiment: Experiment, measure: Measure, look: Look = PAGE) -> "altair.FacetChart | None":
    """The mean score of each arm by context length and depth of the needle; None if no row has a depth."""
    import altair as alt  # 0.4 s that `import lcx_lightning.results` should not cost

    metric, points = experiment.metric(measure), []
    if metric.better != "higher":
        return None
    for arm in experiment.arms():
        cells: dict[tuple[int, float], list[dict]] = {}
        for row in arm_rows(experiment, arm, measure):
            if "depth" in row["at"]:
                cells.setdefault((row["context_length"], row["at"]["depth"]), []).append(row)
        for (length, depth), rows in sorted(cells.items()):
            shown, label = score(rows, metric), arm_label(experiment.runs_of(arm))
            at = {
                "length": length_header(experiment, length),
                "tokens": length,
                "depth": f"{depth:.0%}",
                "place": depth,
            }
            points.append({"arm": label, "score": shown, "text": f"{shown:.0f}"} | at)
    if not points:
        return None
    x_axis = alt.Axis(labelAngle=-60)
    x = alt.X("length:O", sort=alt.SortField("tokens"), title="context length", axis=x_axis)
    y = alt.Y("depth:O", sort=alt.SortField("place"), title="depth: share of the text before it")
    chart, legend = alt.Chart({"values": points}).encode(x, y), _legend(alt, look)
    scale = alt.Scale(domain=[0, 50, 100], range=COLOURS, interpolate="lab")
    colour = alt.Color("score:Q", scale=scale, title=metric.title, legend=legend)
    squares = chart.mark_rect(stroke="white", strokeWidth=look.of(1)).encode(color=colour)
    shade = alt.condition("datum.score < 20 || datum.score > 80", alt.value("white"), alt.value(INK))
    words = chart.mark_text(fontSize=look.of(10)).encode(text="text:N", color=shade)
    return _small_multiples(alt, alt.layer(squares, words), points, described(experiment, measure), look)


def _legend(alt, look: Look):
    sizes = {"labelFontSize": look.of(11), "titleFontSize": look.of(12), "gradientThickness": look.of(16)}
    length = {"gradientLength": look.of(200)}
    return alt.Legend(orient=look.legend, titleFontWeight="normal", titleLimit=0, **sizes, **length)


def _small_multiples(alt, layers, points: list[dict], said: str, look: Look):
    """A heatmap for each arm, as many beside each other as have room with their names."""
    arms = list(dict.fromkeys(point["arm"] for point in points))
    rows, columns = ({point[name] for point in points} for name in ("depth", "length"))
    letters, width = max(len(word) for arm in arms for word in arm.split()), look.of(CELL * len(columns))
    wide, gap = max(width, look.of(LETTER * letters)), look.of(GAP)  # a long name moves heatmaps apart
    most = max(1, int((look.width + gap) // (wide + gap)))
    in_row = math.ceil(len(arms) / math.ceil(len(arms) / most))  # rows of about the same length
    explained = f"{said[0].upper()}{said[1:]}, by length and depth"
    note = "Mean over trials and seeds."
    title = {"title": alt.TitleParams(text=explained, subtitle=note)} if look.titled else {}
    chart = layers.properties(width=width, height=look.of(CELL * len(rows))).facet(
        facet=alt.Facet("arm:N", sort=arms, title=None), columns=in_row, spacing=gap
    )
    chart = styled(chart.properties(description=f"{explained}. {note}", **title), look).configure_header(
        labelFontSize=look.of(13), labelColor=INK, labelFontWeight=600, labelExpr="split(datum.label, ' ')",
        labelLimit=0, labelPadding=look.of(8),
    )  # fmt: skip
    return chart.configure_axis(
        labelFontSize=look.of(11), titleFontSize=look.of(12), titleFontWeight="normal", labelColor=INK, titleColor=INK,
        domainColor=FAINT, tickColor=FAINT, grid=False, tickSize=look.of(5), titlePadding=look.of(6),
    )  # fmt: skip
