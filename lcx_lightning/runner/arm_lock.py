"""The lock of an arm: one process computes it, and a file beside the lock says which. A dead process holds nothing.

The operating system frees the lock of a process that ends, however that happens. The file `.holder` is a second guard
where locks do not reach another machine: its time is renewed while the holder lives, and one of another machine counts
as long as it is fresh.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lcx_lightning.results import records
from lcx_lightning.results.listing import HOLDER, LOCK, is_held
from lcx_lightning.training import preemption

BEAT = 10.0  # seconds from one renewal to the next
LOST = 120.0  # seconds without a renewal after which the holder on another machine counts as dead
RETRY = 1.0  # seconds


class HeldError(Exception):
    """Another process computes the arm."""


def holder(folder: Path) -> str | None:
    """Return who computes the arm of a folder now, such as `process 12 on node3`; None if nobody does."""
    said, lock = _said(folder), folder / LOCK
    if not is_held(lock):
        return _words(said) if _lives_elsewhere(folder, said) else None
    if not os.access(lock, os.W_OK) and not _lives(folder, said):  # of another user's lock its holder's file tells
        return None
    return _words(said) or "another process"


@contextmanager
def held(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the lock of an arm inside this context.

    Args:
        folder: Folder of the run.
        wait: Whether to wait while another process holds it.

    Raises:
        HeldError: If another process holds it, and `wait` is false.
        PermissionError: If another user holds it no longer, but lets nobody else write there.
        PreemptedError: On preemption while another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    while not _acquired(lock, folder, RETRY if wait else 0):
        if not wait:
            raise HeldError(holder(folder) or "another process")
        if preemption.stop_requested():
            raise preemption.PreemptedError(f"preempted while another process holds {folder / LOCK}")
    over, path = threading.Event(), folder / HOLDER
    beat = threading.Thread(target=_beat, args=(path, over), daemon=True)
    try:
        records.write_json(path, {"host": socket.gethostname(), "process": os.getpid()})
        beat.start()
        yield
    finally:
        over.set()
        if beat.is_alive():
            beat.join()
        path.unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock, folder: Path, patience: float) -> bool:
    """Return whether the lock is held now, after at most some seconds, and by nobody on another machine."""
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return False
    except PermissionError:
        if not _lives(folder, _said(folder)):
            raise
        preemption.wait_for_request(patience)
        return False
    if not _lives_elsewhere(folder, _said(folder)):
        return True
    lock.release()
    preemption.wait_for_request(patience)
    return False


def _beat(path: Path, over: threading.Event) -> None:
    """Renew the time of the holder's file until its work is over."""
    while not over.wait(BEAT):
        with suppress(OSError):  # of a server that does not answer for a moment
            os.utime(path)


def _lives(folder: Path, said: dict[str, Any]) -> bool:
    """Return whether a holder lives: one on this machine by its process, another by the time of its file."""
    if said.get("host") != socket.gethostname():
        return _is_fresh(folder)
    try:
        os.kill(said["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _lives_elsewhere(folder: Path, said: dict[str, Any]) -> bool:
    """Return whether a holder on another machine has renewed its file a short while ago."""
    return bool(said) and said.get("host") != socket.gethostname() and _is_fresh(folder)


def _is_fresh(folder: Path) -> bool:
    """Return whether a holder has renewed its file a short while ago."""
    try:
        return time.time() - (folder / HOLDER).stat().st_mtime < LOST
    except FileNotFoundError:
        return False


def _said(folder: Path) -> dict[str, Any]:
    try:
        return records.read_json(folder / HOLDER)
    except (OSError, ValueError):  # it ends at this moment
        return {}


def _words(said: dict[str, Any]) -> str | None:
    return f"process {said.get('process')} on {said.get('host')}" if said else None
