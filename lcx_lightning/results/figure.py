"""The figure of an experiment: perplexity against context length, one line per arm, named at its end."""

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lcx_lightning.results.records import Experiment
from lcx_lightning.results.statistics import Estimate, estimates
from lcx_lightning.results.table import PROTOCOLS, arm_label, lengths, pretrain_length, train_lengths

if TYPE_CHECKING:
    import altair

WIDTH, HEIGHT = 620, 430  # pixels of the plot
LABEL_GAP = 17  # pixels between the arms' names
INK, FAINT = "#1f2328", "#8b929a"
# Okabe and Ito's colours for colour-blind readers without their yellow, which is faint on white, then dark ones of
# Tol's. Shape and dash differ as well: the first arm with the shape of another has the other dash.
COLOURS = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
COLOURS += ["#56B4E9", "#882255", "#999933", "#332288", "#8C510A", "#7F7F7F"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"]
DASHES = [[1, 0], [6, 3], [2, 2]]
TICKS = ([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1])  # in a decade, finest first


def length_figure(experiment: Experiment, protocol: str) -> "altair.LayerChart":
    """Perplexity against context length, both logarithmic; ValueError where no number can be drawn.

    A dashed rule stands at the pretraining length, a ring around the point where the arm was trained, a band for
    its interval.
    """
    import altair as alt  # 0.4 s that `import lcx_lightning.results` should not cost

    found = estimates(experiment, protocol)
    points = _points(experiment, found)
    if not points:
        raise ValueError(f"A finite perplexity is needed for a figure; {experiment.folder} has none for {protocol!r}.")
    domain = _domain(points)
    layers = [*_rule(alt, experiment), *_lines(alt, points), *_names(alt, points, domain)]
    x_scale = alt.Scale(type="log", base=2, domain=_length_domain(points, experiment), nice=False)
    y_scale = alt.Scale(type="log", domain=list(domain), nice=False)
    y_axis = alt.Axis(values=_ticks(*domain), labelExpr="format(datum.value, datum.value < 1e5 ? ',~r' : '.0e')")
    x = alt.X("length:Q", title="context length (tokens)", scale=x_scale, axis=_length_axis(alt, experiment))
    y = alt.Y("perplexity:Q", title="perplexity (lower is better)", scale=y_scale, axis=y_axis)
    frame = alt.Chart({"values": points}).mark_point(opacity=0).encode(x, y)
    title = _title(alt, experiment, protocol, found)
    return styled(alt.LayerChart(layer=[frame, *layers], width=WIDTH, height=HEIGHT, title=title))


def save(chart: "altair.LayerChart", folder: Path | str, name: str) -> list[Path]:
    """Write name.svg and name.png (two pixels per point) into the folder, without a browser or a network."""
    import vl_convert

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawing = vl_convert.vegalite_to_svg(chart.to_json())
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    svg.write_text(drawing)
    png.write_bytes(vl_convert.svg_to_png(drawing, scale=2))
    return [svg, png]


def _points(experiment: Experiment, found: dict[tuple[str, int], Estimate]) -> list[dict]:
    """One object per drawn number. Numbers that are not finite have no place on the axis; the table shows them."""
    points = []
    for index, arm in enumerate(experiment.arms()):
        runs = experiment.runs_of(arm)
        style = {
            "arm": arm_label(runs),
            "colour": COLOURS[index % len(COLOURS)],
            "shape": SHAPES[index % len(SHAPES)],
            "dash": DASHES[index // len(SHAPES) % len(DASHES)],
        }
        for (name, length), estimate in found.items():
            if name == arm and math.isfinite(estimate.value):
                known = math.isfinite(estimate.low) and math.isfinite(estimate.high)
                low, high = (estimate.low, estimate.high) if known else (estimate.value, estimate.value)
                point = {"length": length, "perplexity": estimate.value, "low": low, "high": high}
                points.append(style | point | {"trained": length in train_lengths(runs)})
    return points


def _domain(points: list[dict]) -> tuple[float, float]:
    """Ends of the perplexity axis; wide intervals are cut at 1.3 times the extreme values."""
    least, most = min(p["perplexity"] for p in points), max(p["perplexity"] for p in points)
    low, high = max(min(p["low"] for p in points), least / 1.3), min(max(p["high"] for p in points), most * 1.3)
    margin = max((high / low) ** 0.04, 1.03)
    return low / margin, high * margin


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers inside the axis, as many as read well: the finest series with at most 9."""
    exponents = range(math.floor(math.log10(high - low)) - 1, math.ceil(math.log10(high)) + 1)
    if high / low < 3:  # on so short an axis even steps look even
        steps = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
        series = [[step * n for n in range(math.ceil(low / step), math.ceil(high / step))] for step in steps]
    else:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        series = [[step * 10.0**decade for decade in decades for step in steps] for steps in TICKS]
    inside = [[float(f"{tick:.6g}") for tick in ticks if low <= tick <= high] for ticks in series]
    return next((ticks for ticks in inside if len(ticks) <= 9), inside[-1])


def _styles(alt) -> dict:
    """The arms' own colours, shapes and dashes, as the data name them."""
    colour = alt.Color("colour:N", scale=None)
    return {
        "area": {"color": colour, "detail": "arm:N"},
        "line": {"color": colour, "detail": "arm:N", "strokeDash": alt.StrokeDash("dash:N", scale=None)},
        "point": {"color": colour, "shape": alt.Shape("shape:N", scale=None)},
    }


def _lines(alt, points: list[dict]) -> list:
    """The arms' bands, their lines, their points, and a ring around each at its training length."""
    styles = _styles(alt)
    arms = {point["arm"] for point in points}
    chart = alt.Chart({"values": points}).encode(x="length:Q")
    band = chart.mark_area(opacity=min(0.12, 0.6 / len(arms)), clip=True)
    line = chart.mark_line(strokeWidth=2).encode(y="perplexity:Q", **styles["line"])
    dots = chart.mark_point(filled=True, size=55, opacity=1).encode(y="perplexity:Q", **styles["point"])
    rings = chart.transform_filter("datum.trained").mark_point(shape="circle", strokeWidth=2, size=210, opacity=1)
    ringed = rings.encode(y="perplexity:Q", color=styles["point"]["color"])
    return [band.encode(y="low:Q", y2="high:Q", **styles["area"]), line, dots, ringed]


def _names(alt, points: list[dict], domain: tuple[float, float]) -> list:
    """The arms' names right of the plot in the order of the lines' ends, each with a thin leader to its end."""
    ends = list({point["arm"]: point for point in points}.values())  # the last point of each arm
    ends = sorted(ends, key=lambda point: -point["perplexity"])
    ys = _spread([_pixel(end["perplexity"], domain) for end in ends])
    named = [end | {"name_y": _value(y, domain)} for end, y in zip(ends, ys, strict=True)]
    at, style = alt.Chart({"values": named}), _styles(alt)["point"]
    leaders = at.mark_rule(strokeDash=[1, 3], strokeWidth=1.2).encode(
        x="length:Q", y="perplexity:Q", x2=alt.value(WIDTH + 14), y2="name_y:Q", color=style["color"]
    )
    symbols = at.mark_point(filled=True, size=55, opacity=1).encode(x=alt.value(WIDTH + 20), y="name_y:Q", **style)
    text = at.mark_text(align="left", baseline="middle", fontSize=13, color=INK)
    return [leaders, symbols, text.encode(text="arm:N", x=alt.value(WIDTH + 29), y="name_y:Q")]


def _spread(ys: list[float]) -> list[float]:
    """Ascending pixel rows moved as little as possible (least squares) to lie LABEL_GAP apart inside the plot."""
    from scipy.optimize import isotonic_regression

    offsets = LABEL_GAP * np.arange(len(ys))
    free = isotonic_regression(np.array(ys) - offsets).x
    return (np.clip(free, 0, max(0, HEIGHT - offsets[-1])) + offsets).tolist()


def _pixel(value: float, domain: tuple[float, float]) -> float:
    return HEIGHT * math.log(domain[1] / value) / math.log(domain[1] / domain[0])


def _value(pixel: float, domain: tuple[float, float]) -> float:
    return domain[1] * (domain[0] / domain[1]) ** (pixel / HEIGHT)


def _rule(alt, experiment: Experiment) -> list:
    """The dashed rule at L and its name above the plot; nothing where arms have different ones."""
    pretrained = pretrain_length(experiment)
    if not pretrained:
        return []
    at = alt.Chart({"values": [{"length": pretrained, "text": f"pretraining length L = {pretrained}"}]})
    rule = at.mark_rule(strokeDash=[4, 4], color=FAINT, strokeWidth=1.5).encode(x="length:Q")
    text = at.mark_text(align="left", baseline="bottom", color=INK, fontSize=12, dx=-4)
    return [rule, text.encode(x="length:Q", y=alt.value(-6), text="text:N")]


def _length_domain(points: list[dict], experiment: Experiment) -> list[float]:
    shown = {point["length"] for point in points} | {pretrain_length(experiment) or points[0]["length"]}
    margin = max((max(shown) / min(shown)) ** 0.03, 1.05)
    return [min(shown) / margin, max(shown) * margin]


def _length_axis(alt, experiment: Experiment):
    """A tick at every evaluated length: "512", "1K", and below it the multiple of L."""
    pretrained = pretrain_length(experiment)
    thousands = "datum.value >= 1024 && datum.value % 512 == 0"
    short = f"({thousands} ? format(datum.value / 1024, '~f') + 'K' : '' + datum.value)"
    label = f"[{short}, format(datum.value / {pretrained}, '~r') + 'L']" if pretrained else short
    return alt.Axis(values=lengths(experiment), labelExpr=label, grid=False)


def _title(alt, experiment: Experiment, protocol: str, found: dict[tuple[str, int], Estimate]):
    question = experiment.meta.get("question") or experiment.name
    n_seeds = {estimate.n_seeds for estimate in found.values()}
    band = f"t interval over {max(n_seeds)} seeds" if max(n_seeds) > 1 else "bootstrap over documents"
    band += ", over documents where there is one seed" if len(n_seeds) > 1 and 1 in n_seeds else ""
    notes = [f"Perplexity of {PROTOCOLS.get(protocol, protocol)}."]
    notes.append(f"Band: 95% {band}. Ring: the length the arm was trained at.")
    return alt.TitleParams(text=textwrap.wrap(question, 76), subtitle=notes)


def styled(chart):
    """The chart with the look of all our figures: no frame, faint grid, room for the title."""
    chart = chart.configure(background="white", padding={"left": 8, "top": 8, "right": 16, "bottom": 8})
    chart = chart.configure_view(stroke=None).configure_title(
        anchor="start", frame="group", fontSize=17, fontWeight=600, color=INK, offset=14,
        subtitleFontSize=12.5, subtitleColor="#57606a", subtitlePadding=6,
    )  # fmt: skip
    return chart.configure_axis(
        labelFontSize=12, titleFontSize=13, titleFontWeight="normal", labelColor=INK, titleColor=INK, titlePadding=10,
        gridColor="#e6e8eb", domainColor=FAINT, tickColor=FAINT, labelOverlap="greedy",
    )  # fmt: skip
