"""What a cell of a sweep costs beyond its work: by the local runner, a command for each, and logged to W&B."""

import ctypes
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from experiments.benchmarks.measure import Comparison, Options, costs
from lcx_lightning.results import records

WINDOWS = [16, 24, 32, 48, 64, 96]
FEW = ["evaluation.growing_context.windows=2", "evaluation.growing_context.multiples=[1,2]", "jobs=1"]
PROGRAM = {"program": "experiments.run", "command": ["${env}", "${interpreter}", "-m", "${program}"], "method": "grid"}
PARAMETERS = {"method": {"value": "lm_infinite"}}
CELL, ALONE = "CPU of a cell of a sweep", "CPU of a command for each"
CPU_LIMIT, OFFLINE_LIMIT, SILENT_LIMIT = 5.0, 10.0, 70.0  # seconds a cell, beyond its work
LOGGED = {"logger": "wandb"}
SUBREAPER = 36  # of prctl: processes whose parent has ended become children of this one, whose time then counts


def run(options: Options) -> list[Comparison]:
    """Compare CPU time of the cells of a sweep, their work not counted, and the time that W&B adds to a command."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    windows, rounds = (WINDOWS[:2], 1) if options.quick else (WINDOWS, options.repeats)
    cpu: dict[str, list[float]] = {CELL: [], ALONE: []}
    own: dict[str, list[float]] = {"offline": [], "silent": []}
    for _ in range(rounds):
        cpu[CELL].append(_measured(partial(_sweep, windows=windows), len(windows))[0])
        alone, plain = _measured(_command, 1)
        cpu[ALONE].append(alone)
        own["offline"].append(_measured(partial(_command, WANDB_MODE="offline", **LOGGED), 1)[1] - plain)
        with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and never answers
            told = {"WANDB_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}", "WANDB_API_KEY": "0" * 40}
            own["silent"].append(_measured(partial(_command, **told, **LOGGED), 1)[1] - plain)
    return [
        costs(CELL, ALONE, cpu, 1.0),
        _limited(f"{CELL}, beyond its work", cpu[CELL], CPU_LIMIT),
        _limited("time that W&B adds, offline", own["offline"], OFFLINE_LIMIT),
        _limited("time that W&B adds, its server silent", own["silent"], SILENT_LIMIT),
    ]


def _measured(call: Callable[[Path], None], cells: int) -> tuple[float, float]:
    """Return the CPU seconds of a cell without its work, and the seconds that a command took, in a fresh folder."""
    with tempfile.TemporaryDirectory() as name:
        folder, before, began = Path(name), _spent(), time.perf_counter()
        call(folder)
        took = time.perf_counter() - began
        _await_orphans()
        infos = [records.read_run_file(path.parent) for path in (folder / "results").glob("*/*/run.json")]
        work = sum(sum(info["seconds"].values()) for info in infos)
        return (_spent() - before - work) / cells, took


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _await_orphans() -> None:
    """Wait for processes that a command has left behind: its fork server ends after it."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _sweep(folder: Path, windows: list[int]) -> None:
    path = folder / "cells.yaml"
    path.write_text(yaml.safe_dump(PROGRAM | {"parameters": PARAMETERS | {"window": {"values": windows}}}))
    _run(folder, "experiments.sweep", str(path), *FEW)


def _command(folder: Path, logger: str = "none", **variables: str) -> None:
    words = ["method=lm_infinite", f"window={WINDOWS[0]}", f"logger={logger}", *FEW]
    _run(folder, "experiments.run", *words, **variables)


def _run(folder: Path, module: str, *words: str, **variables: str) -> None:
    """Run a command to its end, with one thread, its results in a folder and no account of W&B but the given one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    places = [f"results_dir={folder / 'results'}", f"cache_dir={folder / 'cache'}"]
    subprocess.run(
        [sys.executable, "-m", module, *words, *places],
        env=kept | {"OMP_NUM_THREADS": "1", "HOME": str(folder)} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def _limited(what: str, seconds: list[float], limit: float) -> Comparison:
    """What share of a limit that a cell may cost was taken: the median over rounds, at most all of it."""
    shares = [one / limit for one in seconds]
    value, ratio = statistics.median(seconds), statistics.median(shares)
    return Comparison(what, "its limit", "s", value, limit, ratio, min(shares), max(shares), 1.0, at_least=False)
