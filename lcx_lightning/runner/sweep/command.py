"""The command `lcx sweep`, or `python -m experiments.sweep`: the cells of a sweep, without a server."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra import initialize_config_module
from omegaconf import OmegaConf

from lcx_lightning.results.report.screen import screen
from lcx_lightning.runner.command import readable, without_secrets_shown
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.refusals import BAD_INPUT, refuse
from lcx_lightning.runner.secrets import masked_words
from lcx_lightning.runner.startup import without_garbage_collection
from lcx_lightning.runner.sweep.cells import cells_of, check_count, shared_by_cells, turned
from lcx_lightning.runner.sweep.checks import check_early_terminate, check_grid, check_search
from lcx_lightning.runner.sweep.files import Sweep, find_sweep, is_grid, read_sweep

LAUNCHERS = ("local", "slurm")


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing of a sweep, report, and return the exit code.

    0; 1 if a cell failed; 2 on bad input; 75 when everything is saved because the machine asked for it; 130 when
    interrupted.
    """
    words = sys.argv[1:] if arguments is None else arguments
    return without_secrets_shown(lambda: _run(words))


def _run(words: list[str]) -> int:
    asked = _parser().parse_intermixed_args(words)
    overrides = [readable(word) for word in asked.overrides]
    try:
        sweep = _checked(asked, overrides)
        overrides += [f"jobs={asked.jobs}"] if asked.jobs else []
        overrides += [f"launch={asked.launcher}"] if asked.launcher else []
        OmegaConf.register_new_resolver("scratch", tempfile.gettempdir, replace=True)
        OmegaConf.register_new_resolver("methods", str, replace=True)
        with initialize_config_module("experiments.configs", version_base="1.3"):
            return (_run_grid if is_grid(sweep) else _run_search)(sweep, asked, words, overrides)
    except BAD_INPUT as error:
        return refuse(error, screen(), overrides)


def _run_grid(sweep: Sweep, asked: argparse.Namespace, words: Sequence[str], overrides: Sequence[str]) -> int:
    with without_garbage_collection():
        cells = cells_of(sweep, overrides)
        from lcx_lightning.runner.sweep.run import Request, run_cells  # heavy: not where a word is refused

    return run_cells(Request(sweep, _typed(words), asked.count, asked.retry, asked.dry_run), cells)


def _run_search(sweep: Sweep, asked: argparse.Namespace, words: Sequence[str], overrides: Sequence[str]) -> int:
    config, shared = shared_by_cells(sweep, overrides)
    if config.seeds > 1:
        raise ValueError(f"{sweep.path}: a drawn cell has one seed, got seeds={config.seeds}. Draw seed from a list.")
    with without_garbage_collection():
        from lcx_lightning.runner.sweep.run import Request  # heavy
        from lcx_lightning.runner.sweep.search import run_search
        from lcx_lightning.runner.sweep.space import Space

    request = Request(sweep, _typed(words), asked.count, asked.retry, asked.dry_run)
    return run_search(request, Space(sweep, config, shared), sweep.run_cap or asked.count)


def _typed(words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "experiments.sweep", *masked_words(words)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lcx sweep",
        description="Run the cells of a sweep without a server, as agents of W&B would. Several shells, or machines "
        "with a shared folder, may run the same command at a time. Cells that are finished are not run again.",
    )
    parser.add_argument("file", help="file of a sweep, or the name of one of the package, such as window")
    parser.add_argument("overrides", nargs="*", help="values for all cells, as in lcx run: seed=0 model=smollm2")
    parser.add_argument("--dry-run", action="store_true", help="list the cells and their states, and run nothing")
    parser.add_argument("--jobs", type=_count, help="cells that this command runs at the same time")
    parser.add_argument("--count", type=_count, help="most cells that this command runs; all without it")
    parser.add_argument("--retry", action="store_true", help="run failed cells again, which are left without it")
    parser.add_argument("--launcher", choices=LAUNCHERS, help="where cells run: local, or slurm for jobs of a cluster")
    parser.add_argument("--yes", action="store_true", help="more than 10,000 cells are meant")
    parser.add_argument("--config-dir", type=Path, help="folder of your own configurations, as in lcx run")
    return parser


def _count(text: str) -> int:
    """Return a count of at least 1."""
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _checked(asked: argparse.Namespace, overrides: Sequence[str]) -> Sweep:
    """Return the sweep that is asked for, which is sound as far as can be seen without composing its cells.

    Raises:
        ValueError: If it is not.
    """
    if torchrun.started():
        raise ValueError("A sweep starts its own processes: start the command without torchrun.")
    sweep = read_sweep(find_sweep(asked.file))
    if asked.config_dir:
        sweep = replace(sweep, config_dir=asked.config_dir.absolute())
    if sweep.config_dir:
        sys.path.append(str(sweep.config_dir.parent))  # its classes are FOLDER.MODULE.CLASS
    sweep = replace(sweep, values=turned(sweep.values, overrides), drawn=turned(sweep.drawn, overrides))
    check_early_terminate(sweep)
    check_count(sweep, sweep.values, asked.yes or not is_grid(sweep))
    if is_grid(sweep):
        check_grid(sweep)
    else:
        check_search(sweep, asked.count, asked.retry)
    return sweep
