"""The sizes of a figure: large with a title on a page, small without one in a column of a paper."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair

COLUMN, TEXT = 234, 396  # points: 3.25 in, one column of two; 5.5 in, a text of one column
HIGH = 576  # points that a figure may be high: 8 in, which leaves room for its caption on a page
LEAST = 120  # points that a plot needs between its axis and the names of the arms
TRIES = 4
SIZE = re.compile(r'<svg [^>]*?\bwidth="([\d.]+)" height="([\d.]+)"')


@dataclass(frozen=True)
class Look:
    """Sizes of a figure, in pixels on a page and in points (1/72 in) in a paper.

    Attributes:
        width: Width of a plot of lines, or of all heatmaps that stand in a row.
        height: Height of a plot of lines.
        scale: Size of letters, lines and symbols relative to those of a page.
        titled: Whether title and explanation are drawn; in a paper its caption has them.
        legend: Where the legend of colours stands.
    """

    width: float = 620
    height: float = 430
    scale: float = 1.0
    titled: bool = True
    legend: str = "right"

    def of(self, size: float) -> float:
        """A length of a page at the scale of this look."""
        return round(size * self.scale, 2)


PAGE = Look()
PAPER = Look(width=COLUMN, height=150, scale=0.6, titled=False, legend="bottom")


def drawing(chart: "altair.TopLevelMixin") -> str:
    """The chart as SVG, made without a browser or a network."""
    import vl_convert

    return vl_convert.vegalite_to_svg(chart.to_json(), allowed_base_urls=[])


def for_paper(draw: Callable[[Look], "altair.TopLevelMixin | None"]) -> str | None:
    """The SVG of a figure as wide as a column, or as a text if it needs that; None if there is no such figure.

    Args:
        draw: Returns the chart at a look, or None.
    """

    @cache
    def drawn(width: float) -> str | None:
        chart = draw(replace(PAPER, width=width))
        return None if chart is None else drawing(chart)

    if drawn(COLUMN) is None:
        return None
    tries = ((COLUMN, HIGH), (TEXT, HIGH), (TEXT, math.inf))
    return next(filter(None, (_fitted(drawn, *most) for most in tries)), drawn(LEAST))


def _fitted(drawn: Callable[[float], str | None], most: float, high: float) -> str | None:
    """The widest drawing of at most that width and height whose plot is not too narrow; None if there is none.

    The names beside a plot, and with the ticks the room below it, are known only when it has been drawn.
    """
    width, before, found = most, (0.0, 0.0), None
    for _ in range(TRIES):
        svg = drawn(width)
        assert svg is not None
        size = size_of(svg)
        found = svg if size[0] <= most and size[1] <= high else found
        width = round(width + most - size[0])
        if 0 <= most - size[0] < 1 or size == before or width < LEAST:
            break
        before = size
    return found


def size_of(svg: str) -> tuple[float, float]:
    """Width and height of a drawing, in its own unit."""
    found = SIZE.search(svg)
    assert found is not None
    return float(found[1]), float(found[2])
