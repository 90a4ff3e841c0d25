"""The figure of a measure: its number against context length, one line per arm, named at its end."""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lcx_lightning.results.analysis.estimates import Estimate, estimates
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.labels import arm_label, described, measured_places, pretrain_length, train_lengths
from lcx_lightning.results.report.look import PAGE, Look, drawing
from lcx_lightning.results.report.tables import thinned
from lcx_lightning.results.report.vertical_axis import VerticalAxis, axis_of

if TYPE_CHECKING:
    import altair

LABEL_GAP = 17  # pixels of a page between the arms' names
NAMES = 48  # most names of arms: as many as a figure of a paper has room for on a page, with its axes
INK, FAINT = "#1f2328", "#8b929a"
# Okabe and Ito's colours for colour-blind readers without their yellow, which is faint on white, then dark ones of
# Tol's. Shape and dash differ as well: the first arm with the shape of another has the other dash.
COLOURS = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
COLOURS += ["#56B4E9", "#882255", "#999933", "#332288", "#8C510A", "#7F7F7F"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"]
DASHES = [[1, 0], [6, 3], [2, 2]]


def length_figure(experiment: Experiment, measure: Measure, look: Look = PAGE) -> "altair.LayerChart":
    """A measure against what it stands by, such as context length; ValueError if there is no finite number.

    A dashed rule stands at the pretraining length, a ring around the point where the arm was trained, a band for
    its interval.
    """
    import altair as alt  # 0.4 s that `import lcx_lightning.results` should not cost

    found, metric = estimates(experiment, measure), experiment.metric(measure)
    points = _points(experiment, found, measure)
    if not points:
        raise ValueError(
            f"A finite {metric.title} is needed for a figure; {experiment.folder} has none, {measure.name}."
        )
    axis, look = axis_of(points, metric.logarithmic), _with_room(look, points)
    rule = _rule(alt, experiment, look) if metric.axis.in_tokens else []
    layers = [*rule, *_lines(alt, points, look), *_names(alt, points, axis, look, metric.better)]
    y_scale = alt.Scale(type="log" if axis.logarithmic else "linear", domain=[axis.low, axis.high], nice=False)
    y_axis = alt.Axis(values=axis.ticks(), labelExpr="format(datum.value, datum.value < 1e5 ? ',~r' : '.0e')")
    named = metric.axis.title + (" (tokens)" if metric.axis.in_tokens else "")
    x_scale, x_axis = _place_scale(alt, points, experiment, measure), _place_axis(alt, experiment, measure)
    x = alt.X("length:Q", title=named, scale=x_scale, axis=x_axis)
    better = f" ({metric.better} is better)" if metric.better else ""
    y = alt.Y("value:Q", title=metric.title + better, scale=y_scale, axis=y_axis)
    frame = alt.Chart({"values": points}).mark_point(opacity=0).encode(x, y)
    chart = alt.LayerChart(layer=[frame, *layers], width=look.width, height=look.height)
    return styled(_captioned(chart, experiment, measure, found, look), look)


def save(chart: "altair.TopLevelMixin", folder: Path | str, name: str) -> list[Path]:
    """Write name.svg and name.png (two pixels per point) into the folder, without a browser or a network."""
    import vl_convert

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = drawing(chart)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    svg.write_text(drawn)
    png.write_bytes(vl_convert.svg_to_png(drawn, scale=2))
    return [svg, png]


def _points(experiment: Experiment, found: dict[tuple[str, float], Estimate], measure: Measure) -> list[dict]:
    """One object per drawn number. Numbers that are not finite have no place on the axis; the table shows them."""
    points, marked = [], experiment.metric(measure).axis.is_length
    for index, arm in enumerate(experiment.arms()):
        runs = experiment.runs_of(arm)
        style = {
            "arm": arm_label(runs),
            "colour": COLOURS[index % len(COLOURS)],
            "shape": SHAPES[index % len(SHAPES)],
            "dash": DASHES[index // len(SHAPES) % len(DASHES)],
        }
        for (name, length), estimate in found.items():
            if name == arm and np.isfinite(estimate.value):
                known = bool(np.isfinite([estimate.low, estimate.high]).all())
                low, high = (estimate.low, estimate.high) if known else (estimate.value, estimate.value)
                point = {"length": length, "value": estimate.value, "low": low, "high": high}
                points.append(style | point | {"trained": marked and length in train_lengths(runs)})
    return points


def _styles(alt) -> dict:
    """The arms' own colours, shapes and dashes, as the data name them."""
    colour = alt.Color("colour:N", scale=None)
    return {
        "area": {"color": colour, "detail": "arm:N"},
        "line": {"color": colour, "detail": "arm:N", "strokeDash": alt.StrokeDash("dash:N", scale=None)},
        "point": {"color": colour, "shape": alt.Shape("shape:N", scale=None)},
    }


def _lines(alt, points: list[dict], look: Look) -> list:
    """The arms' bands, their lines, their points, and a ring around each at its training length."""
    styles = _styles(alt)
    arms = {point["arm"] for point in points}
    chart = alt.Chart({"values": points}).encode(x="length:Q")
    band = chart.mark_area(opacity=min(0.12, 0.6 / len(arms)), clip=True)
    line = chart.mark_line(strokeWidth=look.of(2)).encode(y="value:Q", **styles["line"])
    dots = chart.mark_point(filled=True, size=_area(55, look), opacity=1).encode(y="value:Q", **styles["point"])
    rings = chart.transform_filter("datum.trained").mark_point(
        shape="circle", strokeWidth=look.of(2), size=_area(210, look), opacity=1
    )
    ringed = rings.encode(y="value:Q", color=styles["point"]["color"])
    return [band.encode(y="low:Q", y2="high:Q", **styles["area"]), line, dots, ringed]


def _names(alt, points: list[dict], axis: VerticalAxis, look: Look, better: str | None) -> list:
    """The arms' names right of the plot in the order of the lines' ends, each with a thin leader to its end.

    Of very many arms the best at their ends have names, the lowest if neither is better, and it is said how many have
    none.
    """
    ends = list({point["arm"]: point for point in points}.values())  # the last point of each arm
    more = len(ends) - NAMES + 1 if len(ends) > NAMES else 0
    ends = sorted(ends, key=lambda point: -point["value"])
    if more:
        ends = ends[:-more] if better == "higher" else ends[more:]
    room = look.height - look.of(LABEL_GAP) * bool(more)
    ys = _spread([axis.pixel(end["value"], look.height) for end in ends], replace(look, height=room))
    named = [end | {"name_y": axis.value(y, look.height)} for end, y in zip(ends, ys, strict=True)]
    at, style = alt.Chart({"values": named}), _styles(alt)["point"]
    beside = [alt.value(look.width + look.of(gap)) for gap in (14, 20, 29)]  # the plot: leader's end, symbol, name
    leaders = at.mark_rule(strokeDash=[1, 3], strokeWidth=look.of(1.2)).encode(
        x="length:Q", y="value:Q", x2=beside[0], y2="name_y:Q", color=style["color"]
    )
    symbols = at.mark_point(filled=True, size=_area(55, look), opacity=1).encode(x=beside[1], y="name_y:Q", **style)
    letters = {"align": "left", "baseline": "middle", "fontSize": look.of(13), "color": INK}
    names = [at.mark_text(**letters).encode(text="arm:N", x=beside[2], y="name_y:Q")]
    if more:
        said = alt.Chart({"values": [{"said": f"and {more} more arms, without a name"}]}).mark_text(**letters)
        names.append(said.encode(text="said:N", x=beside[2], y=alt.value(look.height)))
    return [leaders, symbols, *names]


def _area(size: float, look: Look) -> float:
    """The area of a symbol, which grows with the square of its width."""
    return round(size * look.scale**2, 2)


def _with_room(look: Look, points: list[dict]) -> Look:
    """A look with a plot that is high enough for the names of the arms."""
    names = min(NAMES, len({point["arm"] for point in points}))
    return replace(look, height=max(look.height, look.of(LABEL_GAP) * names))


def _spread(ys: list[float], look: Look) -> list[float]:
    """Ascending pixel rows moved as little as possible (least squares) to lie LABEL_GAP apart inside the plot."""
    from scipy.optimize import isotonic_regression

    offsets = look.of(LABEL_GAP) * np.arange(len(ys))
    free = isotonic_regression(np.array(ys) - offsets).x
    return (np.clip(free, 0, max(0, look.height - offsets[-1])) + offsets).tolist()


def _rule(alt, experiment: Experiment, look: Look) -> list:
    """The dashed rule at L and its name above the plot; empty if the L of arms differ."""
    pretrained = pretrain_length(experiment)
    if not pretrained:
        return []
    text = f"{'pretraining length ' * look.titled}L = {pretrained}"
    at = alt.Chart({"values": [{"length": pretrained, "text": text}]})
    rule = at.mark_rule(strokeDash=[4, 4], color=FAINT, strokeWidth=look.of(1.5)).encode(x="length:Q")
    name = at.mark_text(align="left", baseline="bottom", color=INK, fontSize=look.of(12), dx=look.of(-4))
    return [rule, name.encode(x="length:Q", y=alt.value(look.of(-6)), text="text:N")]


def _place_scale(alt, points: list[dict], experiment: Experiment, measure: Measure):
    """Logarithmic, from the first place to the last and L; linear in its smallest part if it begins at 0."""
    shown, in_tokens = {point["length"] for point in points}, experiment.metric(measure).axis.in_tokens
    if not min(shown):
        kind = "symlog" if in_tokens else "linear"
        return alt.Scale(type=kind, domain=[-0.03 * max(shown), 1.05 * max(shown)], nice=False)
    if in_tokens:
        shown |= {pretrain_length(experiment) or points[0]["length"]}
    margin = max((max(shown) / min(shown)) ** 0.03, 1.05)
    return alt.Scale(type="log", base=2, domain=[min(shown) / margin, max(shown) * margin], nice=False)


def _place_axis(alt, experiment: Experiment, measure: Measure):
    """A tick at every place that a table has: "512", "1K", and below it the multiple of L if places are tokens."""
    pretrained = pretrain_length(experiment) if experiment.metric(measure).axis.in_tokens else None
    thousands = "datum.value >= 1024 && datum.value % 512 == 0"
    short = f"({thousands} ? format(datum.value / 1024, '~f') + 'K' : '' + datum.value)"
    label = f"[{short}, format(datum.value / {pretrained}, '~r') + 'L']" if pretrained else short
    return alt.Axis(values=thinned(measured_places(experiment, measure)), labelExpr=label, grid=False)


def _captioned(chart, experiment: Experiment, measure: Measure, found: dict[tuple[str, float], Estimate], look: Look):
    """The chart with its question and what its marks mean: as its title, or else for those who have it read aloud."""
    import altair as alt

    question = experiment.meta.get("question") or experiment.name
    n_seeds = {estimate.n_seeds for estimate in found.values()}
    band = f"t interval over {max(n_seeds)} seeds" if max(n_seeds) > 1 else "interval over documents"
    band += ", over documents where there is one seed" if len(n_seeds) > 1 and 1 in n_seeds else ""
    said = described(experiment, measure)
    notes = [f"{said[0].upper()}{said[1:]}."]
    notes.append(f"Band: 95% {band}. Ring: the length the arm was trained at.")
    if not look.titled:
        return chart.properties(description=" ".join([question, *notes]))
    return chart.properties(title=alt.TitleParams(text=textwrap.wrap(question, 76), subtitle=notes))


def styled(chart, look: Look = PAGE):
    """The chart with the look of all our figures: no frame, faint grid, room for the title."""
    sides = {"left": 8, "top": 8, "right": 32, "bottom": 8} if look.titled else 1
    chart = chart.configure(background="white", padding=sides)
    chart = chart.configure_view(stroke=None).configure_title(
        anchor="start", frame="group", fontSize=17, fontWeight=600, color=INK, offset=14,
        subtitleFontSize=12.5, subtitleColor="#57606a", subtitlePadding=6,
    )  # fmt: skip
    return chart.configure_axis(
        labelFontSize=look.of(12), titleFontSize=look.of(13), titleFontWeight="normal", labelColor=INK, titleColor=INK,
        titlePadding=look.of(10), gridColor="#e6e8eb", domainColor=FAINT, tickColor=FAINT, labelOverlap="greedy",
        tickSize=look.of(5), labelPadding=look.of(2), gridWidth=look.of(1), domainWidth=look.of(1),
        tickWidth=look.of(1), labelSeparation=look.of(4),
    )  # fmt: skip
