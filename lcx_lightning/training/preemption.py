"""Preemption: on SIGTERM or SIGUSR1 a run saves and ends, so that the scheduler can start it again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later

_requested = threading.Event()  # one for the process, as signals are
_of_process = threading.Event()  # whether the whole process was asked to stop, not only the run that it computes
_nothing_to_save = threading.Event()


class PreemptedError(Exception):
    """The run was preempted, and everything is saved."""


class StoppedError(PreemptedError):
    """The run was asked to end for good, and everything is saved; others go on."""


def listen() -> None:
    """Handle the signals from now on, in place of earlier handlers, and unblock them."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stop_requested() -> bool:
    """Return whether the run was asked to stop, alone or with the process."""
    return _requested.is_set()


def request_stop() -> None:
    """Ask the process to stop, as a signal does."""
    _of_process.set()
    _requested.set()


def request_stop_of_run() -> None:
    """Ask the run that this process computes now to stop, and no later one."""
    _requested.set()


def end_run() -> None:
    """Forget what only the run was asked that has ended now."""
    _requested.clear()
    if _of_process.is_set():
        _requested.set()


def wait_for_request(seconds: float) -> bool:
    """Return whether a signal has come, as soon as one has come or after some seconds."""
    return _requested.wait(seconds)


@contextmanager
def nothing_to_save() -> Iterator[None]:
    """End the process with EXIT_CODE on a signal inside this context, or at once if it was already asked to stop."""
    _nothing_to_save.set()
    try:
        _end_if_requested()
        yield
    finally:
        _nothing_to_save.clear()


def _note(_signal: int, _frame: FrameType | None) -> None:
    request_stop()
    _end_if_requested()


def _end_if_requested() -> None:
    if _requested.is_set() and _nothing_to_save.is_set():
        raise SystemExit(EXIT_CODE)
