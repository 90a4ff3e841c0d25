"""A finished stage on disk: stage.json says whose it is and seals its files, which are checked before they are used."""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout
from safetensors import SafetensorError

from lcx_lightning.distributed import process_group
from lcx_lightning.results import records
from lcx_lightning.training import preemption
from lcx_lightning.training.fit import Outcome

NAME = "stage.json"


def write_manifest(folder: Path, key: str, **told: Any) -> None:
    """Write stage.json, last of the files of a stage: its key, the sum of every other file, and what is told."""
    sums = {str(path.relative_to(folder)): _sum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    sums.pop(NAME, None)  # left by a kill
    records.write_json(folder / NAME, {"key": key, "files": sums} | told)


def verify_manifest(folder: Path, key: str) -> None:
    """Raise a ValueError if a finished stage is not whole, or another one. Older ones say nothing of their files."""
    remedy = f"Move {folder} away, and the same command makes it anew; nothing else is touched."
    try:
        told = records.read_json(folder / NAME)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"The cached stage {folder} is not whole: it has no {NAME} that can be read. {remedy}"
        ) from error
    if told.get("key", key) != key:
        raise ValueError(f"The cached stage {folder} is that of {told['key']}, put where {key} is needed. {remedy}")
    for name, expected in told.get("files", {}).items():
        path = folder / name
        if not path.is_file() or _sum(path) != expected:
            raise ValueError(f"The cached stage {folder} is not whole: {name} is not as it was written. {remedy}")


@contextmanager
def naming_what_is_kept(work: Path) -> Iterator[None]:
    """Say what is kept if what is written in a folder of work cannot be, as on a full disk: raise an OSError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of run.json, torch and safetensors
        last = work / "last.ckpt"
        kept = f"its last checkpoint is kept: {last}" if last.exists() else "no checkpoint of it was due before"
        raise OSError(f"The trained model could not be written to {work}, {kept}. {error}") from error


def _sum(path: Path) -> int:
    """Return the CRC-32 of a file, which is on disk when this returns."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
        os.fsync(file.fileno())
    return found


def seconds(folder: Path | None) -> float:
    """Return the training seconds of a cached stage, 0 if there was none."""
    return json.loads((folder / "stage.json").read_text())["seconds"] if folder else 0.0


def throughput(folder: Path | None) -> dict[str, Any] | None:
    """Return what the training of a cached stage took; None if there was none, or nobody measured."""
    return json.loads((folder / "stage.json").read_text()).get("throughput") if folder else None


def trained_parameters(folder: Path | None) -> int | None:
    """Return how many parameters a cached stage has trained: 0 if there was none; None if nobody counted."""
    return json.loads((folder / "stage.json").read_text()).get("trained_parameters") if folder else 0


def make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, made whole or not at all; of several runs one makes it and the others wait.

    All processes of an arm take part in making it: the first decides whether, and puts it in its place. One that was
    made before is checked.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    first = process_group.rank() == 0
    with _locked(folder.with_suffix(".lock")) if first else nullcontext():
        there = folder.exists()
        if there and first:
            verify_manifest(folder, folder.name)
        if not process_group.broadcast_from_rank_zero(there):
            work = folder.with_suffix(".work")
            work.mkdir(exist_ok=True)
            make(work)
            if first:
                os.replace(work / "out", folder)
                shutil.rmtree(work)
        process_group.barrier()  # it is there when this returns
    return folder


def _locked(path: Path) -> AcquireReturnProxy:
    """Return a lock that is held; `PreemptedError` if the machine is asked for back while another run holds it."""
    while True:
        try:
            return FileLock(path).acquire(timeout=1)
        except Timeout as error:
            if preemption.stop_requested():
                raise preemption.PreemptedError("preempted while another run makes this stage") from error


def write_outcome(folder: Path, key: str, outcome: Outcome) -> None:
    told = {
        "seconds": outcome.seconds,
        "validation_loss": outcome.validation_loss,
        "throughput": outcome.throughput,
        "trained_parameters": sum(p.numel() for p in outcome.model.parameters() if p.requires_grad),
    }
    write_manifest(folder, key, **told)
