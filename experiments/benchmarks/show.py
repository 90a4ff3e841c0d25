"""What a benchmark found, as a table in the terminal, in Markdown, and as a figure."""

from typing import TYPE_CHECKING, Any

from lcx_lightning.results.report.figures import FAINT, INK, styled

if TYPE_CHECKING:
    import altair
    from rich.table import Table

    from experiments.benchmarks.measure import Comparison

REACHED, MISSED = "#0072B2", "#D55E00"


def comparison_table(found: list["Comparison"]) -> "Table":
    """A row per ratio: both medians, the ratio with its least and largest value over the rounds, and the goal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("what", "against"):
        table.add_column(name)
    for name in ("value", "other", "ratio", "least", "most", "goal", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        table.add_row(
            row.what,
            row.against,
            f"{row.value:.4g} {row.unit}",
            f"{row.other:.4g} {row.unit}",
            *(f"{ratio:.3g}" for ratio in (row.ratio, row.low, row.high)),
            goal_of(row.as_row()),
            _verdict(row.as_row()),
        )
    return table


def markdown_table(benchmarks: list[dict[str, Any]]) -> str:
    """Return the ratios of several benchmarks, each as `bench` keeps it, and what they were measured on."""
    rows = ["| `bench` | what | against | values | ratio | goal | |", "|---|---|---|---|---|---|---|"]
    for benchmark in benchmarks:
        for row in benchmark["comparisons"]:
            spread = f" [{row['low']:.3g}, {row['high']:.3g}]" if row["low"] != row["high"] else ""
            values = " / ".join(f"{_digits(row[name])} {row['unit']}" for name in ("value", "other"))
            cells = (row["what"], row["against"], values, f"{row['ratio']:.3g}{spread}", goal_of(row), _verdict(row))
            rows.append(f"| `{benchmark['benchmark']}` | {' | '.join(cells)} |")
    machines: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        machines.setdefault(_machine(benchmark["machine"]), []).append(f"`{benchmark['benchmark']}`")
    return "\n".join([*rows, "", *(f"* {', '.join(names)}: {machine}" for machine, names in machines.items())])


def ratio_figure(benchmark: dict[str, Any]) -> "altair.LayerChart":
    """Each ratio on a logarithmic axis, with its least and largest over the rounds, and its goal as a tick."""
    import altair as alt

    rows = [
        row
        | {
            "name": f"{row['what']}  /  {row['against']}",
            "colour": REACHED if row["reached"] else MISSED,
            "said": f"{row['ratio']:.3g}  (goal {goal_of(row)})",
        }
        for row in benchmark["comparisons"]
    ]
    chart = alt.Chart({"values": rows})
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=520))
    scale = alt.Scale(type="log", padding=60, nice=False)
    colour = alt.Color("colour:N", scale=None)
    spread = chart.mark_rule(strokeWidth=2).encode(y=y, x=alt.X("low:Q", title="ratio", scale=scale), x2="high:Q")
    dots = chart.mark_point(filled=True, size=80, opacity=1).encode(y=y, x=alt.X("ratio:Q", scale=scale))
    goals = chart.mark_tick(thickness=2, size=20, color=FAINT).encode(y=y, x=alt.X("goal:Q", scale=scale))
    words = chart.mark_text(dy=-16, color=INK).encode(y=y, x=alt.X("ratio:Q", scale=scale), text="said:N")
    layers = [goals, spread.encode(color=colour), dots.encode(color=colour), words]
    notes = [
        "Dot: median over the rounds; line: least to largest. Tick: the goal. Orange: missed.",
        _machine(benchmark["machine"]) + (", small sizes" if benchmark["quick"] else ""),
    ]
    title = alt.TitleParams(text=f"bench {benchmark['benchmark']}", subtitle=notes)
    return styled(alt.LayerChart(layer=layers, width=420, height={"step": 46}, title=title))


def goal_of(row: dict[str, Any]) -> str:
    """Return the goal of a ratio: ">= 5"."""
    return f"{'>=' if row['at_least'] else '<='} {row['goal']:g}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _verdict(row: dict[str, Any]) -> str:
    return "reached" if row["reached"] else "missed"


def _machine(machine: dict[str, Any]) -> str:
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    hardware = machine["gpu"] or f"{machine['cpu']}, {threads}"
    return f"{hardware}, torch {machine['torch']}"
