"""Threads of a process: its share of the cores that this command may use."""

import os

from lcx_lightning.runner.launch.torchrun import started


def threads_of(processes: int) -> int:
    """Return how many threads each of the processes that compute on this machine gets, at least one.

    Cores are those that the operating system lets the command use. OMP_NUM_THREADS, where it is set, is the most that a
    process gets: so agents that share a machine are told to share its cores. One thread is no wish under torchrun with
    several processes on this machine: it sets that itself where nothing is set.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, allowed // processes)
    most = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # the first of a list is that of the outer level
    if most == "1" and started() and os.environ["LOCAL_WORLD_SIZE"] != "1":
        return share
    return min(share, int(most)) if most.isdecimal() and int(most) else share
