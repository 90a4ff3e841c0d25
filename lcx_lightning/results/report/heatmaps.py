"""Scores by place: by length and depth as a figure, by task, and Position Interpolation's k_max, as tables."""

from collections import defaultdict
from typing import TYPE_CHECKING

from lcx_lightning.results.analysis.estimates import arm_rows, score
from lcx_lightning.results.analysis.k_max import k_max
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.figures import FAINT, INK, styled
from lcx_lightning.results.report.labels import NOT_EVALUATED, arm_label, described, length_header, titled
from lcx_lightning.results.report.tables import Cell, Table

if TYPE_CHECKING:
    import altair

CELL = 26  # pixels of a cell
COLOURS = ["#8c2d04", "#f7f4ef", "#08519c"]  # nothing, half, everything: both ends are equally darker than the middle


def depth_figure(experiment: Experiment, measure: Measure) -> "altair.FacetChart | None":
    """The mean score of each arm by context length and depth of the needle; None if no row has a depth."""
    import altair as alt  # 0.4 s that `import lcx_lightning.results` should not cost

    metric, points = experiment.metric(measure), []
    if metric.better != "higher":
        return None
    for arm in experiment.arms():
        cells: dict[tuple[int, float], list[dict]] = {}
        for row in arm_rows(experiment, arm, measure):
            if "depth" in row["at"]:
                cells.setdefault((row["context_length"], row["at"]["depth"]), []).append(row)
        for (length, depth), rows in sorted(cells.items()):
            shown, label = score(rows, metric), arm_label(experiment.runs_of(arm))
            at = {
                "length": length_header(experiment, length),
                "tokens": length,
                "depth": f"{depth:.0%}",
                "place": depth,
            }
            points.append({"arm": label, "score": shown, "text": f"{shown:.0f}"} | at)
    if not points:
        return None
    arms = list(dict.fromkeys(point["arm"] for point in points))
    rows, columns = ({point[name] for point in points} for name in ("depth", "length"))
    x = alt.X("length:O", sort=alt.SortField("tokens"), title="context length", axis=alt.Axis(labelAngle=-60))
    y = alt.Y("depth:O", sort=alt.SortField("place"), title="depth: share of the text before it")
    scale = alt.Scale(domain=[0, 50, 100], range=COLOURS, interpolate="lab")
    chart = alt.Chart({"values": points}).encode(x, y)
    squares = chart.mark_rect(stroke="white").encode(color=alt.Color("score:Q", scale=scale, title=metric.title))
    dark = "datum.score < 20 || datum.score > 80"
    words = chart.mark_text(fontSize=10).encode(
        text="text:N", color=alt.condition(dark, alt.value("white"), alt.value(INK))
    )
    said = described(experiment, measure)
    title = alt.TitleParams(
        text=f"{said[0].upper()}{said[1:]}, by length and depth", subtitle="Mean over trials and seeds."
    )
    layers = alt.layer(squares, words).properties(width=CELL * len(columns), height=CELL * len(rows))
    faceted = layers.facet(
        facet=alt.Facet("arm:N", sort=arms, title=None), columns=2 if len(arms) in (2, 4) else 3
    ).properties(title=title)
    return styled(faceted).configure_header(labelFontSize=13, labelColor=INK, labelFontWeight=600).configure_axis(
        domainColor=FAINT, grid=False
    )  # fmt: skip


def k_max_table(experiment: Experiment, measure: Measure) -> Table | None:
    """k_max by arm and context length, over all seeds together; None if rows have no distance."""
    found: dict[tuple[str, int], int] = {}
    for arm in experiment.arms() if experiment.metric(measure).trials else ():
        rows = arm_rows(experiment, arm, measure)
        for length in {row["context_length"] for row in rows}:
            reached = k_max([row for row in rows if row["context_length"] == length])
            if reached is not None:
                found[arm, length] = reached
    if not found:
        return None
    columns = sorted({length for _, length in found})
    rows = [
        [Cell(arm_label(experiment.runs_of(arm))), *(Cell(f"{found.get((arm, n), NOT_EVALUATED)}") for n in columns)]
        for arm in experiment.arms()
    ]
    note = (
        "The largest distance to the end, in tokens, up to which a fifth of the trials at every distance succeed. A "
        "distance that falls on the question or the opening is that of the nearest place in the text."
    )
    return Table(
        titled(experiment, f"k_max of {measure.protocol}"),
        ["arm", *(length_header(experiment, n) for n in columns)],
        rows,
        [note],
    )


def task_table(experiment: Experiment, protocol: str) -> Table | None:
    """Scores by arm, length and task, and their mean over tasks; None if rows are not of several tasks."""
    every = {arm: _scored(experiment, arm, protocol) for arm in experiment.arms()}
    tasks = list(dict.fromkeys(task for scored in every.values() for _, task in scored))
    if len(tasks) < 2:
        return None
    lines = []
    for arm, scored in every.items():
        for length in sorted({length for length, _ in scored}):
            found = [scored[length, task][1] for task in tasks if (length, task) in scored]
            cells = [
                Cell(f"{scored[length, task][1]:.1f}" if (length, task) in scored else NOT_EVALUATED) for task in tasks
            ]
            mean = f"{sum(found) / len(found):.1f}" if len(found) == len(tasks) else NOT_EVALUATED
            lines.append([Cell(f"{arm_label(experiment.runs_of(arm))}, {length}"), *cells, Cell(mean)])
    titles = sorted({title for scored in every.values() for title, _ in scored.values()})
    note = f"Scores: {', '.join(titles)}. The mean is that of the tasks, whatever their numbers of examples."
    return Table(titled(experiment, f"{protocol} by task"), ["arm, length", *tasks, "mean"], lines, [note])


def _scored(experiment: Experiment, arm: str, protocol: str) -> dict[tuple[int, str], tuple[str, float]]:
    """By length and task, the title and the value of an arm's score: of every task that of its first metric."""
    found: dict[tuple[int, str], tuple[str, float]] = {}
    first: dict[str, str] = {}
    for measure in experiment.measures():
        metric, cells = experiment.metric(measure), defaultdict(list)
        if measure.protocol == protocol and metric.better == "higher":
            for row in arm_rows(experiment, arm, measure):
                task = row["at"].get("task")
                if task is not None and first.setdefault(task, measure.metric) == measure.metric:
                    cells[row["context_length"], task].append(row)
        found |= {place: (metric.title, score(rows, metric)) for place, rows in cells.items()}
    return found
