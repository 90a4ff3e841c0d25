"""What stands where in a context: scores by length and depth as a figure, and Position Interpolation's k_max."""

from typing import TYPE_CHECKING

from lcx_lightning.results.analysis.estimates import arm_rows, score
from lcx_lightning.results.metrics import Measure, metric
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.figures import FAINT, INK, styled
from lcx_lightning.results.report.labels import NOT_EVALUATED, arm_label, described, length_header
from lcx_lightning.results.report.tables import Cell, Table

if TYPE_CHECKING:
    import altair

CELL = 26  # pixels of a cell
COLOURS = ["#8c2d04", "#f7f4ef", "#08519c"]  # nothing, half, everything: they differ in lightness from the middle alike
SUCCESS = 0.2  # rate that every nearer distance must reach, too (arXiv:2306.15595, section 3.3)


def depth_figure(experiment: Experiment, measure: Measure) -> "altair.FacetChart | None":
    """The mean score of each arm by context length and depth of what is asked for; None if there is none."""
    import altair as alt  # 0.4 s that `import lcx_lightning.results` should not cost

    how, points = metric(measure.metric), []
    if how.better != "higher":
        return None
    for arm in experiment.arms():
        cells: dict[tuple[int, float], list[dict]] = {}
        for row in arm_rows(experiment, arm, measure):
            if "depth" in row:
                cells.setdefault((row["context_length"], row["depth"]), []).append(row)
        for (length, depth), rows in sorted(cells.items()):
            shown, label = score(rows), arm_label(experiment.runs_of(arm))
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
    squares = chart.mark_rect(stroke="white").encode(color=alt.Color("score:Q", scale=scale, title=how.title))
    dark = "datum.score < 20 || datum.score > 80"
    words = chart.mark_text(fontSize=10).encode(
        text="text:N", color=alt.condition(dark, alt.value("white"), alt.value(INK))
    )
    said = described(measure)
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


def k_max(rows: list[dict]) -> int | None:
    """The largest distance k from the end such that at every k' <= k at least a fifth of the trials succeed.

    0 where the nearest fails; None where rows have no distance. The rows are of one length (arXiv:2306.15595).
    """
    trials: dict[int, list[dict]] = {}
    for row in rows:
        if "distance" in row:
            trials.setdefault(row["distance"], []).append(row)
    reached = 0
    for distance in sorted(trials):
        found = trials[distance]
        if sum(row["value"] for row in found) < SUCCESS * sum(row["n"] for row in found):
            break
        reached = distance
    return reached if trials else None


def k_max_table(experiment: Experiment, measure: Measure) -> Table | None:
    """k_max by arm and context length, of all seeds together; None where rows have no distance."""
    found: dict[tuple[str, int], int] = {}
    for arm in experiment.arms() if measure.metric == "accuracy" else ():
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
        f"{experiment.name}: k_max of {measure.protocol}",
        ["arm", *(length_header(experiment, n) for n in columns)],
        rows,
        [note],
    )


def task_table(experiment: Experiment, protocol: str) -> Table | None:
    """Arms and lengths by task, each with its own score, and their mean; None where rows are not of several tasks."""
    every = {arm: _scores(experiment, arm, protocol) for arm in experiment.arms()}
    tasks = list(dict.fromkeys(row["task"] for rows in every.values() for row in rows))
    if len(tasks) < 2:
        return None
    lines, scores = [], set()
    for arm, rows in every.items():
        for length in sorted({row["context_length"] for row in rows}):
            at = [[row for row in rows if (row["context_length"], row["task"]) == (length, task)] for task in tasks]
            found = [score(some) for some in at if some]
            scores |= {metric(some[0]["metric"]).title for some in at if some}
            cells = [Cell(f"{score(some):.1f}" if some else NOT_EVALUATED) for some in at]
            mean = f"{sum(found) / len(found):.1f}" if len(found) == len(tasks) else NOT_EVALUATED
            lines.append([Cell(f"{arm_label(experiment.runs_of(arm))}, {length}"), *cells, Cell(mean)])
    note = f"Scores: {', '.join(sorted(scores))}. The mean is that of the tasks, whatever their numbers of examples."
    return Table(f"{experiment.name}: {protocol} by task", ["arm, length", *tasks, "mean"], lines, [note])


def _scores(experiment: Experiment, arm: str, protocol: str) -> list[dict]:
    """Rows of an arm's scores by task, of every task those of its first metric."""
    rows = [row for measure in experiment.measures() for row in arm_rows(experiment, arm, measure)]
    rows = [row for row in rows if row["protocol"] == protocol and metric(row["metric"]).better == "higher"]
    first: dict[str, str] = {}
    return [row for row in rows if "task" in row and first.setdefault(row["task"], row["metric"]) == row["metric"]]
