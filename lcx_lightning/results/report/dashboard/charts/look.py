"""What the charts share: the styles of arms, tooltips, and the data sets that the page fills."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"]
DASHES = [[1, 0], [6, 3], [2, 2]]
COLOURS = 12  # in a palette: style.css and charts.js have one for each theme
HEIGHT = 320  # pixels of a plot


def style_of(index: int) -> list[int]:
    """The numbers of an arm's colour, shape and dash; the first arms with the colour of another have another dash."""
    return [index % COLOURS, index % len(SHAPES), index // COLOURS % len(DASHES)]


def data(alt: Any, name: str) -> Any:
    """A data set that the page fills: "rows" of all arms that are shown, "focus" of those that are chosen."""
    return alt.NamedData(name=name)


def colour(alt: Any) -> Any:
    """The colour of the arm, from the palette of the theme."""
    return alt.Color("colour:N", scale=alt.Scale(domain=[*range(COLOURS)], range="category"), legend=None)


def shape(alt: Any) -> Any:
    """The shape of the arm's points."""
    return alt.Shape("shape:N", scale=alt.Scale(domain=[*range(len(SHAPES))], range=SHAPES), legend=None)


def dash(alt: Any) -> Any:
    """The dash of the arm's line."""
    return alt.StrokeDash("dash:N", scale=alt.Scale(domain=[*range(len(DASHES))], range=DASHES), legend=None)


def tooltip(alt: Any, place: str, value: str) -> list[Any]:
    """What is said of a point: the arm, where it stands, its number with interval, and n."""
    fields = {"label": "arm", "at": place, "text": value, "interval": "95% interval", "n": "n"}
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in fields.items()]


def finished(chart: "altair.TopLevelMixin") -> dict[str, Any]:
    """The specification, for the page: colours and fonts are those of its theme."""
    spec = chart.to_dict()
    for key in ("$schema", "config"):
        spec.pop(key, None)
    return spec


def zero(logarithmic: bool) -> dict[str, Any]:
    """What keeps a linear scale from beginning at 0; a logarithmic one never does."""
    return {} if logarithmic else {"zero": False}
