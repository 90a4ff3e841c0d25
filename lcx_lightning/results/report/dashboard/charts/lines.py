"""A measure against what it stands by, one line an arm with its band; and the same relative to one arm."""

from typing import Any

from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.dashboard.charts.look import (
    HEIGHT,
    colour,
    dash,
    data,
    finished,
    shape,
    tooltip,
    zero,
)
from lcx_lightning.results.report.labels import pretrain_length


def lines(experiment: Experiment, measure: Measure, places: list[float], title: str, logarithmic: bool) -> dict:
    """The specification. The page sets `rows`, `bands`, `rings`, `focus`, `marks`, `faint` and `ticks`.

    Args:
        experiment: Runs that can be compared.
        measure: What is shown.
        places: Places on the horizontal axis, ascending.
        title: Title of the vertical axis.
        logarithmic: Whether the vertical axis is.
    """
    import altair as alt  # 0.4 s that `import lcx_lightning.results` should not cost

    axis = experiment.metric(measure).axis
    named = axis.title + (" (tokens)" if axis.in_tokens else "")
    x = alt.X(
        "place:Q",
        title=named,
        scale=_scale(alt, _with_l(experiment, measure, places), axis.in_tokens),
        axis=_axis(alt, experiment, measure),
    )
    kind = "log" if logarithmic else "linear"
    y_axis = alt.Axis(values=alt.ExprRef("ticks"), labelExpr="format(datum.value, datum.value < 1e5 ? ',~r' : '.0e')")
    y = alt.Y(
        "value:Q", title=title, scale=alt.Scale(type=kind, nice=False, padding=8, **zero(logarithmic)), axis=y_axis
    )
    layers = [*_marks(alt, x), *_arms(alt, x, y, tooltip(alt, axis.title, title)), *_focus(alt, x, y)]
    chart = alt.layer(*layers).properties(width="container", height=HEIGHT)
    return finished(
        chart.add_params(
            alt.param(name="faint", value=1.0),
            alt.param(name="ticks", value=[]),
            alt.param(name="places", value=places),
        )
    )


def _arms(alt: Any, x: Any, y: Any, said: list) -> list:
    """Bands, lines, points, rings at training lengths, and places under the pointer, of all arms that are shown."""
    faint = alt.ExprRef("faint")
    rows = alt.Chart(data(alt, "rows")).encode(x=x, y=y, detail="arm:N", color=colour(alt))
    bands = alt.Chart(data(alt, "bands")).mark_area(opacity=0.13, clip=True)
    rings = alt.Chart(data(alt, "rings")).mark_point(shape="circle", strokeWidth=2, size=190, opacity=faint)
    return [
        bands.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", detail="arm:N", color=colour(alt)),
        rows.mark_line(strokeWidth=1.8, opacity=faint).encode(strokeDash=dash(alt), tooltip=alt.Tooltip("label:N")),
        alt.Chart(data(alt, "points"))
        .mark_point(filled=True, size=46, opacity=faint)
        .encode(x=x, y=y, color=colour(alt), shape=shape(alt)),
        rings.encode(x=x, y=y, color=colour(alt)),
        alt.Chart(data(alt, "hover")).mark_point(size=180, opacity=0, filled=True).encode(x=x, y=y, tooltip=said),
    ]


def _focus(alt: Any, x: Any, y: Any) -> list:
    """The chosen arms again, stronger and on top, named at their ends."""
    chosen = alt.Chart(data(alt, "focus")).encode(x=x, y=y, color=colour(alt))
    ends = alt.Chart(data(alt, "ends")).mark_text(align="right", baseline="bottom", dy=-7, fontWeight=600, limit=260)
    return [
        chosen.mark_line(strokeWidth=3.4).encode(detail="arm:N", strokeDash=dash(alt)),
        chosen.mark_point(filled=True, size=70, opacity=1).encode(shape=shape(alt)),
        ends.encode(x=x, y=y, text="label:N"),
    ]


def _marks(alt: Any, x: Any) -> list:
    """Upright rules: at L, and at the length that is chosen."""
    at = alt.Chart(data(alt, "marks"))
    wide = at.mark_rule(strokeWidth=10, opacity=0.16, color="#E69F00").transform_filter("datum.chosen")
    rule = at.mark_rule(strokeDash=[4, 4], strokeWidth=1.5, color="#8b929a").transform_filter("!datum.chosen")
    text = at.mark_text(align="left", baseline="bottom", dx=-4).encode(x=x, y=alt.value(-4), text="text:N")
    return [wide.encode(x=x), rule.encode(x=x), text.transform_filter("!datum.chosen")]


def _with_l(experiment: Experiment, measure: Measure, places: list[float]) -> list[float]:
    """The places, and the pretraining length where places are numbers of tokens."""
    pretrained = pretrain_length(experiment) if experiment.metric(measure).axis.in_tokens else None
    return sorted({*places, pretrained}) if pretrained else places


def _scale(alt: Any, places: list[float], in_tokens: bool) -> Any:
    """Logarithmic, from the first place to the last; linear in its smallest part if it begins at 0."""
    low, high = places[0], places[-1]
    if low <= 0:
        return alt.Scale(type="symlog" if in_tokens else "linear", domain=[low - 0.03 * high, 1.05 * high], nice=False)
    margin = max((high / low) ** 0.03, 1.05)
    return alt.Scale(type="log", base=2, domain=[low / margin, high * margin], nice=False)


def _axis(alt: Any, experiment: Experiment, measure: Measure) -> Any:
    """Ticks at the places that the page names: "512", "1K", and below it the multiple of L if places are tokens."""
    pretrained = pretrain_length(experiment) if experiment.metric(measure).axis.in_tokens else None
    thousands = "datum.value >= 1024 && datum.value % 512 == 0"
    short = f"({thousands} ? format(datum.value / 1024, '~f') + 'K' : '' + datum.value)"
    label = f"[{short}, format(datum.value / {pretrained}, '.3~r') + 'L']" if pretrained else short
    return alt.Axis(values=alt.ExprRef("places"), labelExpr=label, grid=False, labelOverlap="greedy")
