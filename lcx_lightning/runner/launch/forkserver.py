"""The process that all jobs are forked from: it imports the heavy libraries once."""

import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker

from lcx_lightning.training import preemption


def start_launcher() -> None:
    """Start it, and return at once.

    The signals of preemption, which may reach every process of a group, do not end it: through it the runner knows the
    jobs that it has forked, which save and end when they hear of it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that spin for long are tenfold slower on a busy machine
    multiprocessing.set_forkserver_preload(["lcx_lightning.runner.launch.worker"])
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, preemption.SIGNALS)  # a scheduler tells every process that there is
    forkserver.ensure_running()  # it starts with them held back, and so do the jobs, until they listen
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
