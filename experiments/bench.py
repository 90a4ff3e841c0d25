"""Benchmarks, each a ratio against a named alternative of the same run: `python -m experiments.bench attention`."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import benchmarks
from experiments.report import screen

if TYPE_CHECKING:
    from rich.table import Table

    from experiments.benchmarks.measure import Comparison


def offered() -> list[str]:
    """Names of the benchmarks: the files of the folder, but for what they share."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "measure")


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
            f"{'>=' if row.at_least else '<='} {row.goal:g}",
            "reached" if row.reached else "missed",
        )
    return table


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, also where a goal was missed, which the table says."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("name", choices=offered())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="cores to use; all of them by default")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--results-dir", type=Path, default=Path("results"))
    asked = parser.parse_args(arguments)
    run_benchmark(asked)
    return 0


def run_benchmark(asked: argparse.Namespace) -> None:
    """Measure, print the table, and keep the figures in results_dir/bench/<name>.json."""
    import torch

    from experiments.benchmarks.measure import Options, machine
    from lcx_lightning.results.records import write_json

    torch.set_num_threads(asked.threads or torch.get_num_threads())
    options = Options(device=asked.device, repeats=asked.repeats, quick=asked.quick)
    found = importlib.import_module(f"experiments.benchmarks.{asked.name}").run(options)
    console = screen()
    console.print(comparison_table(found))
    path = asked.results_dir / "bench" / f"{asked.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    comparisons = [row.as_row() for row in found]
    write_json(
        path,
        {"benchmark": asked.name, "quick": asked.quick, "machine": machine(asked.device), "comparisons": comparisons},
    )
    console.print(str(path), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
