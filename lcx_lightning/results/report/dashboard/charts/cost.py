"""Quality against cost: a point an arm, and the frontier of those that none beats in both."""

from lcx_lightning.results.report.dashboard.charts.look import HEIGHT, colour, data, finished, shape, zero


def cost(title: str, logarithmic: bool) -> dict:
    """The specification. The page sets `rows` with `cost` and `value`, `frontier` and `focus`."""
    import altair as alt

    kind = "log" if logarithmic else "linear"
    x_axis = alt.Axis(grid=False, labelOverlap="greedy")
    x = alt.X("cost:Q", title=None, scale=alt.Scale(type="log", nice=False, padding=14), axis=x_axis)
    y_axis = alt.Axis(values=alt.ExprRef("ticks"), format=",~r")
    y = alt.Y(
        "value:Q", title=title, scale=alt.Scale(type=kind, nice=False, padding=14, **zero(logarithmic)), axis=y_axis
    )
    fields = {"label": "arm", "spent": "cost", "at": "length", "text": title, "interval": "95% interval", "n": "n"}
    said = [alt.Tooltip(f"{field}:N", title=name) for field, name in fields.items()]
    frontier = alt.Chart(data(alt, "frontier")).mark_line(interpolate="step-after", strokeDash=[5, 3], color="#8b929a")
    points = alt.Chart(data(alt, "rows")).mark_point(filled=True, size=80, opacity=alt.ExprRef("faint"))
    focus = alt.Chart(data(alt, "focus")).mark_point(filled=True, size=170, opacity=1)
    ends = alt.Chart(data(alt, "focus")).mark_text(align="left", dx=10, fontWeight=600, limit=240)
    at = {"x": x, "y": y}
    chart = alt.layer(
        frontier.encode(**at),
        points.encode(**at, color=colour(alt), shape=shape(alt), tooltip=said),
        focus.encode(**at, color=colour(alt), shape=shape(alt), tooltip=said),
        ends.encode(**at, text="label:N"),
    ).properties(width="container", height=HEIGHT)
    return finished(chart.add_params(alt.param(name="faint", value=1.0), alt.param(name="ticks", value=[])))
