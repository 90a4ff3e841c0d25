"""The process that all jobs are forked from: it imports the heavy libraries once."""

import multiprocessing
import os
import signal
from multiprocessing import forkserver

from lcx_lightning.training import preemption


def start_launcher() -> None:
    """Start it, and return at once.

    It ignores the signals of preemption, which may reach every process of a group: through it the runner knows those
    that it has forked, which save and end when they hear of it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that spin for long are tenfold slower on a busy machine
    multiprocessing.set_forkserver_preload(["experiments.worker"])
    before = {number: signal.signal(number, signal.SIG_IGN) for number in preemption.SIGNALS}  # is inherited
    forkserver.ensure_running()
    for number, handler in before.items():
        signal.signal(number, handler)
