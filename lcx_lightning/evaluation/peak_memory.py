"""Peak memory of a call: that of tensors on a GPU, that of the process elsewhere."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measurable() -> bool:
    """Return whether this machine can measure the peak of a call: on a CUDA GPU, or of a process under Linux."""
    return torch.cuda.is_available() or MARK.exists()


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a call takes above what was held before it.

    On a CUDA device it counts tensors; on a CPU resident memory, which may include freed memory.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    _release_freed_memory()
    # not ru_maxrss: a child inherits the one of its parent. 5 sets the high-water mark to what is resident now
    MARK.write_text("5")
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _release_freed_memory() -> None:
    """Let glibc return freed memory to the system, which the call would otherwise use again uncounted."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(field: str) -> int:
    """Return a field of this process's status, in bytes."""
    found = re.search(rf"{field}:\s*(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024
