"""Parallel coordinates: a line an arm over the knobs that arms differ in, and a measure as the last axis."""

from lcx_lightning.results.report.dashboard.charts.look import HEIGHT, colour, dash, data, finished


def parallel(axes: list[str]) -> dict:
    """The specification. The page sets `rows`, with `height` from 0 to 1 on each axis, `focus`, and `labels`."""
    import altair as alt

    x_axis = alt.Axis(labelAngle=0, orient="top", grid=True, domain=False)
    x = alt.X("axis:N", title=None, sort=axes, axis=x_axis, scale=alt.Scale(type="point", padding=0.25))
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[-0.04, 1.04], nice=False))
    said = [
        alt.Tooltip("label:N", title="arm"),
        alt.Tooltip("axis:N", title="knob"),
        alt.Tooltip("text:N", title="value"),
    ]
    rows = alt.Chart(data(alt, "rows")).encode(x=x, y=y, color=colour(alt))
    focus = alt.Chart(data(alt, "focus")).encode(x=x, y=y, color=colour(alt))
    words = alt.Chart(data(alt, "labels")).encode(x=x, y=y, text="text:N")
    label = {"align": "left", "dx": 6, "fontSize": 11, "limit": 110}
    chart = alt.layer(
        rows.mark_line(strokeWidth=1.5, opacity=alt.ExprRef("faint")).encode(detail="arm:N", strokeDash=dash(alt)),
        rows.mark_point(size=120, opacity=0, filled=True).encode(tooltip=said),
        focus.mark_line(strokeWidth=3.2).encode(detail="arm:N", strokeDash=dash(alt)),
        words.mark_text(style="halo", **label),
        words.mark_text(**label),
    ).properties(width="container", height=HEIGHT)
    return finished(chart.add_params(alt.param(name="faint", value=0.7)))
