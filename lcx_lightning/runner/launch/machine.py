"""What the commands of one user share on a machine: its cores by the number of their processes, and its GPUs.

Each command, and each process that has GPUs, keeps files locked as long as it lives; the operating system frees the
locks of one that is killed.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lcx_lightning.results.listing import is_held

FOLDER = Path(tempfile.gettempdir()) / f"lcx-{getattr(os, 'getuid', int)()}"
VISIBLE = "CUDA_VISIBLE_DEVICES"
COMMAND = "command-{}.lock"  # by the number of its process; beside it a file with how many processes compute for it
GPU = "gpu-{}.lock"


class Command:
    """This command among those that run on the machine."""

    def __init__(self) -> None:
        self._lock: FileLock | None = None

    def processes(self, own: int) -> int:
        """Return how many processes compute on this machine: `own`, of which others are told, and theirs."""
        path = FOLDER / COMMAND.format(os.getpid())
        if self._lock is None:
            FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(path)
            self._lock.acquire()
        _count_of(path).write_text(str(own))
        others = [one for one in FOLDER.glob(COMMAND.format("*")) if one != path]
        return own + sum(_computing(one) for one in others)


def _computing(path: Path) -> int:
    """Return how many processes compute for another command; none if it has ended."""
    try:
        return int(_count_of(path).read_text()) if is_held(path) else 0
    except (OSError, ValueError):  # it begins, or ends, at this moment
        return 0


def _count_of(path: Path) -> Path:
    return path.with_suffix(".processes")


@contextmanager
def own_gpus(count: int, number: int) -> Iterator[str | None]:
    """Give the GPUs that this process and those that it starts use, as CUDA_VISIBLE_DEVICES names them.

    They are free ones, which are this process's inside this context; shared ones where too few are free. None, and
    nothing is chosen, if the variable is set, or the machine has no more GPUs than are needed.

    Args:
        count: Number of GPUs.
        number: Number of the job, by which GPUs are shared.
    """
    import torch  # not where jobs are only started

    there = 0 if os.environ.get(VISIBLE) is not None else torch.cuda.device_count()
    if there <= count:
        yield None
        return
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        free: list[int] = []
        for index in range(there):
            with suppress(Timeout):
                if len(free) < count:
                    stack.enter_context(FileLock(FOLDER / GPU.format(index)).acquire(timeout=0))
                    free.append(index)
        shared = [index for place in range(there) if (index := (number * count + place) % there) not in free]
        yield ",".join(map(str, sorted([*free, *shared[: count - len(free)]])))
