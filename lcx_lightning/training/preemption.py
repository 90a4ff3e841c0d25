"""Preemption: SIGTERM and SIGUSR1 ask a run to save and to end, so that the scheduler can start it again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later

_requested = threading.Event()  # signals are of the process
_nothing_to_save = threading.Event()


class PreemptedError(Exception):
    """Raised when everything is saved."""


def listen() -> None:
    """Note the signals from now on, in place of what they did, and those that were held back."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stop_requested() -> bool:
    """Return whether a signal has come."""
    return _requested.is_set()


def request_stop() -> None:
    """Do what a signal does."""
    _requested.set()


def wait_for_request(seconds: float) -> bool:
    """Return whether a signal has come, as soon as one has come or after some seconds."""
    return _requested.wait(seconds)


@contextmanager
def nothing_to_save() -> Iterator[None]:
    """End the process with EXIT_CODE as soon as a signal comes, or if one has come: nobody else looks for it here."""
    _nothing_to_save.set()
    try:
        _end_if_requested()
        yield
    finally:
        _nothing_to_save.clear()


def _note(_signal: int, _frame: FrameType | None) -> None:
    _requested.set()
    _end_if_requested()


def _end_if_requested() -> None:
    if _requested.is_set() and _nothing_to_save.is_set():
        raise SystemExit(EXIT_CODE)
