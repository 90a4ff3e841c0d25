"""The lock of an arm: one process computes it, and a file beside the lock says which. A dead process holds nothing.

The operating system frees the lock of a process that ends, however that happens. The file `.holder` is a second guard
where locks do not reach another machine: one process alone can make it, its time is renewed while the holder lives, and
one of another machine counts as long as it is fresh by the clock of the file server.
"""

import json
import os
import socket
import threading
import time
import uuid
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
        return (_words(said) or "another process") if _lives_elsewhere(folder, said) else None
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
    own = {"host": socket.gethostname(), "process": os.getpid(), "id": uuid.uuid4().hex}
    while not _acquired(lock, folder, own, RETRY if wait else 0):
        if not wait:
            raise HeldError(holder(folder) or "another process")
        if preemption.stop_requested():
            raise preemption.PreemptedError(f"preempted while another process holds {folder / LOCK}")
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder, own, over), daemon=True)
    try:
        beat.start()
        yield
    finally:
        over.set()
        beat.join()
        if _said(folder) == own:
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock, folder: Path, own: dict[str, Any], patience: float) -> bool:
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
    try:
        if _is_made(folder, own):
            return True
    except BaseException:
        lock.release()
        raise
    lock.release()
    preemption.wait_for_request(patience)
    return False


def _is_made(folder: Path, own: dict[str, Any]) -> bool:
    """Return whether the holder's file has been made here: no process of another machine has it, or was faster."""
    path = folder / HOLDER
    before = _identity(path)
    if _lives_elsewhere(folder, _said(folder)):
        return False
    if before is not None:
        _remove(path, before)
    try:
        with path.open("x") as file:
            json.dump(own, file)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _remove(path: Path, dead: tuple[int, int]) -> None:
    """Remove the file of a dead holder, but not one that another process has made in its place by now."""
    grave = path.with_name(f"{HOLDER}.{uuid.uuid4().hex}")
    try:
        os.rename(path, grave)
    except FileNotFoundError:
        return
    if _identity(grave) == dead:
        grave.unlink()
    else:
        os.rename(grave, path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that is made in its place; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _beat(folder: Path, own: dict[str, Any], over: threading.Event) -> None:
    """Renew the time of the holder's file until its work is over."""
    while not over.wait(BEAT):
        with suppress(OSError):  # of a server that does not answer for a moment
            if _said(folder) == own:
                os.utime(folder / HOLDER)


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
    """Return whether a holder on another machine has renewed its file a short while ago, or is writing it now."""
    return said.get("host") != socket.gethostname() and _is_fresh(folder)


def _is_fresh(folder: Path) -> bool:
    """Return whether a holder has renewed its file a short while ago."""
    try:
        renewed = (folder / HOLDER).stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):  # an arm whose folder cannot be fails by itself
        return False
    return _now(folder) - renewed < LOST


def _now(folder: Path) -> float:
    """Return the time by the clock that dates the files of a folder; by that of this machine if none can be written."""
    try:
        (folder / LOCK).touch()
        return (folder / LOCK).stat().st_mtime
    except OSError:
        return time.time()


def _said(folder: Path) -> dict[str, Any]:
    try:
        return records.read_json(folder / HOLDER)
    except (OSError, ValueError):  # it ends at this moment
        return {}


def _words(said: dict[str, Any]) -> str | None:
    return f"process {said.get('process')} on {said.get('host')}" if said else None
