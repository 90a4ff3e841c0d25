"""Drawings of a method as SVG, computed by the method itself: its frequencies, and which keys a query sees."""

import math

import torch

from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.methods.masks import rotated_distances
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.overrides import open_values, with_values
from lcx_lightning.methods.scaling.base import RopeSpec

LLAMA2 = RopeSpec(dim=128, base=10_000.0, pretrain_length=4096)
SMALL = RopeSpec(dim=16, base=10_000.0, pretrain_length=24)  # a mask whose cells can be seen
FACTOR, MULTIPLES = 4, (1, 2, 4)
COLORS = ("#56B4E9", "#0072B2", "#000000")  # of the lengths
UNSEEN, NEAR, FAR, BEYOND, CHOSEN = "#ececec", (222, 235, 247), (8, 81, 156), "#E69F00", "#009E73"
CELL = 5  # pixels
FONT = 'font-family="sans-serif" font-size="12" fill="#333"'


def method_for(name: str, spec: RopeSpec, **values: float) -> Method:
    """Return a method as its file has it, for a checkpoint, at factor 4; `values` are used where the file has them."""
    method = read_method(name)
    known = {"factor": FACTOR, "train_factor": 1}
    chosen = {key: value for key, value in known.items() if key in open_values(method)}
    chosen |= {key: value for key, value in values.items() if method.pattern.get(key)}
    torch.manual_seed(0)
    return build_method(with_values(method, spec.pretrain_length, chosen), spec).eval()


# Frequencies


@torch.no_grad()
def frequencies_svg(name: str) -> str:
    """Return, over rotary pairs, their frequency over that of pretraining at L, 2 L and 4 L, for Llama-2."""
    method, length = method_for(name, LLAMA2), LLAMA2.pretrain_length
    factors = [method.positions.evaluation_factor(torch.tensor([m * length]), length) for m in MULTIPLES]
    curves = [(method.scaling(factor.float())[0] / LLAMA2.inv_freq()).tolist() for factor in factors]
    lowest = 2.0 ** math.floor(math.log2(min(1 / 8, *map(min, curves))) + 1e-6)
    place = _Axes(pairs=len(curves[0]), lowest=lowest)
    named = [(f"{'' if m == 1 else m}L", curve) for m, curve in zip(MULTIPLES, curves, strict=True)]
    if all(curve == curves[0] for curve in curves):
        named = [("every length", curves[0])]
    colors = COLORS[-len(named) :]
    lines = [place.line(curve, color) for (_, curve), color in zip(named, colors, strict=True)]
    legend = [place.legend(i, text, color) for i, ((text, _), color) in enumerate(zip(named, colors, strict=True))]
    return place.svg([*lines, *legend])


class _Axes:
    """Axes of the drawing of frequencies: pairs to the right, ratios on a logarithmic scale upwards."""

    left, top, width, height = 60, 14, 400, 230

    def __init__(self, pairs: int, lowest: float) -> None:
        self.pairs, self.lowest = pairs, lowest

    def at(self, pair: float, ratio: float) -> tuple[float, float]:
        """Return the pixels of a point."""
        across = pair / (self.pairs - 1)
        down = math.log(ratio) / math.log(self.lowest)
        return self.left + across * self.width, self.top + max(down, 0.0) * self.height

    def line(self, ratios: list[float], color: str) -> str:
        """Return a line through the ratios of all pairs."""
        points = " ".join("{:.1f},{:.1f}".format(*self.at(pair, ratio)) for pair, ratio in enumerate(ratios))
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'

    def legend(self, row: int, text: str, color: str) -> str:
        """Return the name of a line, in the free corner at the bottom left."""
        x, y = self.left + 12, self.top + self.height - 54 + 18 * row
        mark = f'<line x1="{x}" x2="{x + 20}" y1="{y}" y2="{y}" stroke="{color}" stroke-width="2"/>'
        return f'{mark}<text x="{x + 26}" y="{y + 4}" {FONT}>{text}</text>'

    def svg(self, content: list[str]) -> str:
        """Return the drawing: grid, labels, content."""
        grid, bottom = [], self.top + self.height
        for power in range(round(-math.log2(self.lowest)) + 1):
            y = self.at(0, 2.0**-power)[1]
            label = "1" if not power else f"1/{2**power}"
            grid.append(f'<line x1="{self.left}" x2="{self.left + self.width}" y1="{y}" y2="{y}" stroke="#ddd"/>')
            grid.append(f'<text x="{self.left - 8}" y="{y + 4}" text-anchor="end" {FONT}>{label}</text>')
        for pair in range(0, self.pairs, 8):
            x = self.at(pair, 1)[0]
            grid.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle" {FONT}>{pair}</text>')
        middle = self.top + self.height / 2
        titles = [
            f'<text x="{self.left + self.width / 2}" y="{bottom + 38}" text-anchor="middle" {FONT}>'
            "rotary pair, fastest first</text>",
            f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle" {FONT}>'
            "frequency / pretrained</text>",
        ]
        return _svg(self.left + self.width + 20, bottom + 48, [*grid, *titles, *content])


# The mask


@torch.no_grad()
def mask_svg(name: str) -> str:
    """Return the pairs of query (down) and key (right) that a method sees, coloured by the distance they rotate at."""
    length = SMALL.pretrain_length
    tokens = length * 3
    method = method_for(name, SMALL, sink_tokens=3)
    rope = method.rope(torch.ones(1, tokens, dtype=torch.bool), tokens)
    places = (rope.query_index[0], rope.key_index[0])
    cells: dict[str, list[tuple[int, int]]] = {}
    for query, row in enumerate(rotated_distances(rope.bands, *places).tolist()):
        for key, distance in enumerate(row[: query + 1]):
            cells.setdefault(_color(distance, length), []).append((query, key))
    if rope.selection is not None:
        candidates = rotated_distances([rope.selection.candidates], *places)[-1]
        cells[CHOSEN] = [(tokens - 1, key) for key in (candidates >= 0).nonzero()[:, 0].tolist()]
    paths = [f'<path fill="{color}" d="{"".join(map(_square, where))}"/>' for color, where in cells.items()]
    side = tokens * CELL
    marks = []
    for at in range(0, tokens + 1, length):
        text = {0: "0", 1: "L"}.get(at // length, f"{at // length}L")
        marks.append(f'<text x="{40 + at * CELL}" y="{side + 34}" text-anchor="middle" {FONT}>{text}</text>')
        marks.append(f'<text x="34" y="{18 + at * CELL}" text-anchor="end" {FONT}>{text}</text>')
    marks.append(f'<text x="{40 + side / 2}" y="{side + 52}" text-anchor="middle" {FONT}>key</text>')
    marks.append(f'<text transform="translate(12 {14 + side / 2}) rotate(-90)" {FONT}>query</text>')
    return _svg(side + 190, side + 62, [*paths, *marks, *_mask_legend(cells, side, length)])


def _color(distance: float, length: int) -> str:
    if distance < 0:
        return UNSEEN
    if distance > length:
        return BEYOND
    share = distance / length
    return "#" + "".join(f"{round(near + (far - near) * share):02x}" for near, far in zip(NEAR, FAR, strict=True))


def _square(place: tuple[int, int]) -> str:
    query, key = place
    return f"M{40 + key * CELL} {14 + query * CELL}h{CELL}v{CELL}h-{CELL}z"


def _mask_legend(cells: dict[str, list[tuple[int, int]]], side: int, length: int) -> list[str]:
    shown = [(_color(0, length), "distance 0"), (_color(length / 2, length), "distance L / 2")]
    shown += [(_color(length, length), "distance L")]
    shown += [(color, text) for color, text in ((BEYOND, "beyond L"), (UNSEEN, "not seen")) if color in cells]
    shown += [(CHOSEN, "top-k of these")] if CHOSEN in cells else []
    rows = []
    for row, (color, text) in enumerate(shown):
        y = 24 + 22 * row
        rows.append(f'<rect x="{side + 60}" y="{y}" width="14" height="14" fill="{color}" stroke="#bbb"/>')
        rows.append(f'<text x="{side + 82}" y="{y + 12}" {FONT}>{text}</text>')
    return rows


def _svg(width: float, height: float, content: list[str]) -> str:
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    white = f'<rect width="{width:g}" height="{height:g}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{white}{"".join(content)}</svg>\n'
