"""The process that all jobs are forked from: it imports the heavy libraries once."""

import multiprocessing
import os
from multiprocessing import forkserver


def start_launcher() -> None:
    """Start it, and return at once."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that spin for long are tenfold slower on a busy machine
    multiprocessing.set_forkserver_preload(["experiments.worker"])
    forkserver.ensure_running()
