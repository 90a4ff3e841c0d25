"""Benchmarks, each a ratio against a named alternative of the same run: `python -m experiments.bench attention`."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from experiments import benchmarks
from lcx_lightning.results.report.screen import readers_may_leave, screen

SHARED = {"measure", "models", "show"}


def offered() -> list[str]:
    """Names of the benchmarks: the files of the folder, but for what they share."""
    return sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - SHARED)


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
    """Measure, print the table, and keep the figures in results_dir/bench: name.json, name.svg and name.png."""
    import torch

    from experiments.benchmarks.measure import Options, machine
    from experiments.benchmarks.show import comparison_table, ratio_figure
    from lcx_lightning.results.records import write_json
    from lcx_lightning.results.report.figures import save
    from lcx_lightning.runner.quiet import silence_library_logging

    silence_library_logging()
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    options = Options(device=asked.device, repeats=asked.repeats, quick=asked.quick)
    found = importlib.import_module(f"experiments.benchmarks.{asked.name}").run(options)
    console = screen()
    console.print(comparison_table(found))
    folder = asked.results_dir / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"benchmark": asked.name, "machine": machine(asked.device)}
    kept |= {"rounds": asked.repeats, "quick": asked.quick, "comparisons": [row.as_row() for row in found]}
    write_json(folder / f"{asked.name}.json", kept)
    for path in (folder / f"{asked.name}.json", *save(ratio_figure(kept), folder, asked.name)):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
