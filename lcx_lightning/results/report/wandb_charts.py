"""Charts of W&B over the table `cells` of runs, in Vega-Lite: by length, by length and depth, and over two knobs.

W&B puts columns in place of `${field:x}` and words in place of `${string:protocol}`, and the rows of all runs of a
panel under the name `wandb`. A chart belongs to an entity and cannot be changed there: another one has another name.
"""

from typing import Any

from lcx_lightning.results.logged import COLUMNS
from lcx_lightning.results.report.figures import COLOURS, DASHES
from lcx_lightning.results.report.heatmaps import COLOURS as PER_CENT

LENGTH, DEPTH, HEAT = "lcx-length-1", "lcx-depth-1", "lcx-heat-1"  # with a number that grows when a chart is changed
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
OF_MEASURE = "datum['${field:protocol}'] === '${string:protocol}' && datum['${field:metric}'] === '${string:metric}'"
NO_DEPTH = "!isValid(datum['${field:depth}'])"
LONGEST = "datum['${field:length}'] === toNumber('${string:length}')"
FIELDS = {name: name for name in COLUMNS}  # what a panel fills in where it wants no others


def _chart(title: str, where: str, **more: Any) -> dict[str, Any]:
    """The specification of a chart of the rows of a measure."""
    common = {"$schema": SCHEMA, "title": title, "data": {"name": "wandb"}}
    return common | {"transform": [{"filter": f"{OF_MEASURE} && {where}"}]} | more


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"field": f"${{field:{name}}}", "type": kind} | more


def _log_length() -> dict[str, Any]:
    return _field("length", "quantitative", scale={"type": "log", "base": 2}, title="context length")


def _by_length() -> dict[str, Any]:
    colour, dash = ({name: _field("arm", "nominal", title="arm")} for name in ("color", "strokeDash"))
    scale = {"type": "${string:scale}", "zero": False, "nice": False}
    low, high = (_field(name, "quantitative", aggregate=end) for name, end in (("low", "min"), ("high", "max")))
    value = _field("value", "quantitative", aggregate="mean", scale=scale, title="${string:title}")
    band = {"y": low | {"scale": scale, "title": "${string:title}"}, "y2": {"field": high["field"], "aggregate": "max"}}
    band |= {"detail": _field("arm", "nominal"), "fill": _field("arm", "nominal", legend=None)}
    band["fill"]["scale"] = colour["color"]["scale"] = {"range": COLOURS}
    dash["strokeDash"]["scale"] = {"range": DASHES}
    mark = {"x": {"datum": {"expr": "toNumber('${string:pretrain_length}')"}, "type": "quantitative"}}
    return _chart(
        "${string:title} by length",
        NO_DEPTH,
        width="container",
        height="container",
        layer=[
            {"mark": {"type": "area", "opacity": 0.15}, "encoding": {"x": _log_length()} | band},
            {"mark": {"type": "line", "point": True}, "encoding": {"x": _log_length(), "y": value} | colour | dash},
            {"mark": {"type": "rule", "strokeDash": [4, 4], "color": "gray"}, "encoding": mark},
        ],
    )


def _by_depth() -> dict[str, Any]:
    scale = {"domain": [0, 50, 100], "range": PER_CENT, "interpolate": "lab"}
    colour = _field("value", "quantitative", aggregate="mean", scale=scale, title="${string:title}")
    y = _field("depth", "ordinal", title="depth", axis={"format": ".0%"})
    squares = {"x": _field("length", "ordinal", title="context length"), "y": y, "color": colour}
    return _chart(
        "${string:title} by length and depth",
        f"!({NO_DEPTH})",
        facet=_field("arm", "nominal", title=None),
        columns=3,
        spec={"mark": "rect", "encoding": squares, "width": {"step": 36}, "height": {"step": 24}},
    )


def _over_knobs() -> dict[str, Any]:
    axes = {"x": _field("x", "ordinal", title="${string:x}"), "y": _field("y", "ordinal", title="${string:y}")}
    value = _field("value", "quantitative", aggregate="mean", title="${string:title}")
    scale = {"scheme": "viridis", "type": "${string:scale}"}
    text = value | {"format": ".4~g"}
    known = "isValid(datum['${field:x}']) && isValid(datum['${field:y}'])"
    return _chart(
        "${string:title} at ${string:length} tokens",
        f"{NO_DEPTH} && {LONGEST} && {known}",
        width="container",
        height="container",
        encoding=axes,
        layer=[
            {"mark": "rect", "encoding": {"color": value | {"scale": scale}}},
            {"mark": {"type": "text", "stroke": "white", "strokeWidth": 3}, "encoding": {"text": text}},
            {"mark": {"type": "text", "color": "black"}, "encoding": {"text": text}},
        ],
    )


def charts() -> dict[str, dict[str, Any]]:
    """The specifications of all charts by name."""
    return {LENGTH: _by_length(), DEPTH: _by_depth(), HEAT: _over_knobs()}
