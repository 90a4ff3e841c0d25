"""Time and memory of callables, and what a comparison of two of them says."""

import math
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from lcx_lightning.evaluation import peak_memory

Name = TypeVar("Name")
FREED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": str(2**16)}  # bytes


@dataclass(frozen=True)
class Options:
    """What every benchmark is told."""

    device: str = "cpu"
    repeats: int = 5  # rounds; in each one every alternative runs once
    quick: bool = False  # sizes that take seconds and show that it runs; their figures mean nothing


@dataclass(frozen=True)
class Comparison:
    """One ratio against a named alternative, measured in the same process and the same rounds."""

    what: str
    against: str
    unit: str  # of value and other: "s", "MiB" ...
    value: float  # of what, the median
    other: float  # of the alternative, the median
    ratio: float
    low: float  # least ratio of any round
    high: float  # largest ratio of any round
    goal: float
    at_least: bool  # whether the goal is the least wanted, or the most

    @property
    def reached(self) -> bool:
        """Whether the ratio is as wanted."""
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    def as_row(self) -> dict[str, Any]:
        """What the JSON file keeps."""
        return asdict(self) | {"reached": self.reached}


def faster(what: str, against: str, seconds: dict[str, list[float]], goal: float) -> Comparison:
    """How many times as fast `what` is, of the interleaved times of both: the median over rounds, at least `goal`."""
    return _compare(what, against, seconds, goal, at_least=True)


def costs(what: str, against: str, seconds: dict[str, list[float]], goal: float) -> Comparison:
    """How many times the time of `against` that `what` takes: the median over rounds, at most `goal`."""
    return _compare(what, against, seconds, goal, at_least=False)


def smaller(what: str, against: str, peaks: dict[str, int], goal: float) -> Comparison:
    """What share of the peak memory of `against` that `what` takes, of bytes of both: at most `goal`."""
    ratio = peaks[what] / peaks[against]
    value, other = peaks[what] / 2**20, peaks[against] / 2**20
    return Comparison(what, against, "MiB", value, other, ratio, ratio, ratio, goal, at_least=False)


def grows(what: str, against: str, seconds: dict[int, list[float]], goal: float) -> Comparison:
    """Slope of log time over log size, of the interleaved times of each size: of the medians, at most `goal`.

    1 is linear growth, 2 quadratic. `value` is the time of the largest size, `other` that of the smallest.
    """
    medians = {size: statistics.median(taken) for size, taken in seconds.items()}
    rounds = [dict(zip(seconds, taken, strict=True)) for taken in zip(*seconds.values(), strict=True)]
    slopes = [_slope(taken) for taken in rounds]
    value, other = medians[max(medians)], medians[min(medians)]
    slope = _slope(medians)
    return Comparison(what, against, "s", value, other, slope, min(slopes), max(slopes), goal, at_least=False)


def interleaved(
    alternatives: Mapping[Name, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[Name, list[float]]:
    """Seconds of each alternative in each round, after one round that does not count.

    All alternatives run once in every round, so that what else the machine does meets them alike.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in alternatives}
    for taken in range(repeats + 1):
        for name, call in alternatives.items():
            wait_for(device)
            start = time.perf_counter()
            call()
            wait_for(device)
            if taken:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def wait_for(device: str) -> None:
    """Return when everything that was queued on the device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(prepare: Callable[..., Callable[[], object]], *arguments: Any, device: str = "cpu") -> int:
    """Most bytes that a call takes above what its process held before it, in a fresh process.

    Args:
        prepare: Makes the inputs and returns the call to measure. A function of a module, since the process imports it.
        arguments: Arguments of `prepare`, which must be picklable.
        device: "cpu" measures resident memory, "cuda" what torch has allocated there.
    """
    return peaks_together(prepare, [arguments], device)[0]


def peaks_together(
    prepare: Callable[..., Callable[[], object]], arguments: Sequence[tuple[Any, ...]], device: str = "cpu"
) -> list[int]:
    """What `peak_bytes` returns, of as many fresh processes at once as there are arguments: they may share a call."""
    with _freed_at_once(), ProcessPoolExecutor(len(arguments), multiprocessing.get_context("spawn")) as fresh:
        running = [fresh.submit(_peak_of, prepare, own, device, torch.get_num_threads()) for own in arguments]
        return [one.result() for one in running]


@contextmanager
def _freed_at_once() -> Iterator[None]:
    """Let processes that start here give back freed memory at once: glibc keeps some of it, more or less by chance."""
    before = {name: os.environ.get(name) for name in FREED_AT_ONCE}
    os.environ |= FREED_AT_ONCE
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else []
    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return {
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _slope(seconds: dict[int, float]) -> float:
    return statistics.linear_regression([math.log(n) for n in seconds], [math.log(s) for s in seconds.values()]).slope


def _compare(what: str, against: str, seconds: dict[str, list[float]], goal: float, *, at_least: bool) -> Comparison:
    ours, theirs = seconds[what], seconds[against]
    pairs = list(zip(theirs, ours, strict=True) if at_least else zip(ours, theirs, strict=True))
    ratios = [above / below for above, below in pairs]
    value, other = statistics.median(ours), statistics.median(theirs)
    return Comparison(
        what, against, "s", value, other, statistics.median(ratios), min(ratios), max(ratios), goal, at_least
    )


def _peak_of(prepare: Callable[..., Callable[[], object]], arguments: tuple, device: str, threads: int) -> int:
    torch.set_num_threads(threads)
    return peak_memory.peak_bytes(prepare(*arguments), torch.device(device))
