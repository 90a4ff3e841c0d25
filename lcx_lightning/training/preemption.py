"""Preemption: SIGTERM and SIGUSR1 ask a run to save and to end, so that the scheduler can start it again."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later

_asked = threading.Event()  # signals are of the process


class PreemptedError(Exception):
    """Raised when everything is saved."""


def listen() -> None:
    """Note the signals from now on, in place of what they did, and those that were held back."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def asked() -> bool:
    """Return whether a signal has come."""
    return _asked.is_set()


def ask() -> None:
    """Do what a signal does."""
    _asked.set()


def _note(_signal: int, _frame: FrameType | None) -> None:
    _asked.set()
