"""The fork server: a process that imports the heavy libraries once, and that jobs are forked from."""

import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker

from lcx_lightning.training import preemption


def start_fork_server() -> None:
    """Start the fork server, if it does not run yet, and return at once.

    The signals of preemption may reach every process of a group. The fork server, which thus lives as long as its jobs,
    holds them back, and so do the jobs until they listen.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that spin for long are tenfold slower on a busy machine
    multiprocessing.set_forkserver_preload(["lcx_lightning.runner.launch.worker"])
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, preemption.SIGNALS)
    forkserver.ensure_running()  # inherits the mask
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def share_fork_server() -> None:
    """Let a process that came from the fork server start processes of its own from the same server.

    multiprocessing means to do so (see `ForkServer.ensure_running`), but looks only at whether this very process has
    started the server, and would start a second one, which imports everything again.
    """
    server = forkserver._forkserver  # pyright: ignore[reportAttributeAccessIssue]
    if all(value is not None for name, value in vars(server).items() if name != "_forkserver_pid"):
        server.ensure_running = lambda: None
