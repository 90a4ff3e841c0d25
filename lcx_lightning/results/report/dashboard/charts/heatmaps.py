"""Heatmaps: a score by length and depth, small multiples on one scale; and a measure by two knobs."""

from typing import Any

from lcx_lightning.results.report.dashboard.charts.look import data, finished

CELL = 30  # pixels of a cell
WIDE = 58  # pixels of a cell with a perplexity in it
LONGEST = 7  # characters of a value that such a cell has room for
SCORES = ["#8c2d04", "#f7f4ef", "#08519c"]  # nothing, half, everything: both ends are equally darker than the middle


def depths(title: str, whole: float) -> dict:
    """The specification of scores by length and depth, a small heatmap an arm; `whole` is the best score there is."""
    import altair as alt

    x = alt.X("length:O", title="context length", axis=alt.Axis(labelAngle=-60, labelExpr=_short("datum.value")))
    y = alt.Y("depth:O", title="depth", axis=alt.Axis(labelExpr="format(datum.value, '.0%')"))
    scale = alt.Scale(domain=[0, whole / 2, whole], range=SCORES, interpolate="lab")
    tip = [alt.Tooltip(f"{key}:N", title=said) for key, said in _DEPTH_TIPS.items()]
    squares = alt.Chart().mark_rect(strokeWidth=2).encode(
        x, y, alt.Color("value:Q", scale=scale, title=title, legend=alt.Legend(orient="top", gradientLength=180)),
        stroke=alt.condition("datum.length == chosen", alt.value("#E69F00"), alt.value("transparent")), tooltip=tip,
    )  # fmt: skip
    words = _words(alt, x, y, f"datum.value < {0.2 * whole} || datum.value > {0.8 * whole}")
    layers = alt.layer(squares, words).properties(width=alt.Step(CELL), height=alt.Step(20))
    facet = alt.Facet("label:N", title=None, sort=alt.SortField("order"), header=alt.Header(labelLimit=320))
    chart = layers.facet(facet, data=data(alt, "rows"), columns=3).add_params(alt.param(name="chosen", value=0))
    return finished(chart)


_DEPTH_TIPS = {"label": "arm", "length": "length", "depth": "depth", "text": "score", "n": "n"}


def matrix(across: str, down: str, title: str, logarithmic: bool, longest: int) -> dict:
    """The specification of a measure by two knobs, a cell for each pair of values that arms have.

    `longest`: characters of the longest value of the knob across. Long ones are turned, so that none covers another.
    """
    import altair as alt

    scale = alt.Scale(type="log" if logarithmic else "linear", scheme="viridis", reverse=logarithmic)
    legend = alt.Legend(orient="right", gradientLength=140, format=".3~g")
    turn = alt.Axis(labelAngle=-40 if longest > LONGEST else 0)
    x = alt.X("across:O", title=across, sort=alt.SortField("column"), axis=turn)
    y = alt.Y("down:O", title=down, sort=alt.SortField("row"))
    rows = data(alt, "rows")
    stroke = alt.condition("datum.chosen", alt.value("#E69F00"), alt.value("transparent"))
    said = {"label": "arm", "at": "length", "text": title, "interval": "95% interval", "n": "n"}
    tip = [alt.Tooltip(f"{key}:N", title=name) for key, name in said.items()]
    squares = alt.Chart(rows).mark_rect(strokeWidth=3).encode(
        x, y, alt.Color("value:Q", scale=scale, title=title, legend=legend), stroke=stroke, tooltip=tip
    )  # fmt: skip
    words = alt.Chart(rows).mark_text(fontSize=11).encode(
        x, y, text="short:N", color=alt.condition("datum.dark", alt.value("white"), alt.value("#1f2328"))
    )  # fmt: skip
    return finished(alt.layer(squares, words).properties(width=alt.Step(WIDE), height=alt.Step(CELL)))


def _words(alt: Any, x: Any, y: Any, dark: str) -> Any:
    ink = alt.condition(dark, alt.value("white"), alt.value("#1f2328"))
    return alt.Chart().mark_text(fontSize=10).encode(x, y, text=alt.Text("value:Q", format=".0f"), color=ink)


def _short(value: str) -> str:
    return f"{value} >= 1024 && {value} % 512 == 0 ? format({value} / 1024, '~f') + 'K' : '' + {value}"
