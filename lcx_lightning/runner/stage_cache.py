"""Finished stages on disk: stage.json names each and lists its files with checksums, which are verified before use."""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NotRequired

from filelock import AcquireReturnProxy, FileLock, Timeout
from pydantic import Field
from safetensors import SafetensorError
from typing_extensions import TypedDict  # that of typing serves pydantic from Python 3.12

from lcx_lightning.distributed import process_group
from lcx_lightning.results import records
from lcx_lightning.runner.aside import put_aside
from lcx_lightning.runner.provenance import provenance
from lcx_lightning.schema.files import check_values, read_json
from lcx_lightning.training import preemption
from lcx_lightning.training.fit import Outcome

NAME = "stage.json"


Amount = Annotated[float, Field(strict=True, ge=0)]


class Manifest(TypedDict):
    """What stage.json says: what the stage is, its files with their checksums, and of training what it took."""

    key: str
    files: dict[str, Annotated[int, Field(strict=True)]]
    fingerprint: NotRequired[str | None]
    seconds: NotRequired[Amount]
    validation_loss: NotRequired[float]
    throughput: NotRequired[dict[str, Any] | None]
    trained_parameters: NotRequired[Annotated[int, Field(strict=True, ge=0)]]
    computed_by: NotRequired[list[dict[str, Any]]]


def write_manifest(folder: Path, key: str, **facts: Any) -> None:
    """Write stage.json, the last file of a stage: its key, a checksum of every other file, and further facts.

    Whoever may read it may read the other files: safetensors keeps weights from everybody but their owner.
    """
    sums = {str(path.relative_to(folder)): _sum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    sums.pop(NAME, None)  # left by a kill
    records.write_json(folder / NAME, {"key": key, "files": sums} | facts)
    for name in sums:
        (folder / name).chmod((folder / NAME).stat().st_mode & 0o777)


def verify_manifest(folder: Path, key: str) -> dict[str, Any]:
    """Return what the manifest of a finished stage says.

    Raises:
        ValueError: If the stage is incomplete, damaged, or another one.
    """
    remedy = f"Move {folder} away, and the same command makes it anew; nothing else is touched."
    try:
        manifest = read_json(folder / NAME, remedy)
        check_values(Manifest, manifest, str(folder / NAME), remedy)
    except OSError as error:
        raise ValueError(f"The cached stage {folder} is incomplete: {error}. {remedy}") from error
    except ValueError as error:
        raise ValueError(f"The cached stage {folder} is damaged: {error}") from error
    found, files = manifest["key"], manifest["files"]
    if found != key:
        raise ValueError(f"The cached stage {folder} is that of {found}, in the place of {key}. {remedy}")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file() or _sum(path) != expected:
            raise ValueError(f"The cached stage {folder} is damaged: {name} is not as it was written. {remedy}")
    return manifest


@contextmanager
def naming_what_is_kept(work: Path) -> Iterator[None]:
    """Raise an OSError that names the checkpoint that is kept, where a trained model cannot be written to disk."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of the manifest, torch and safetensors
        last = work / "last.ckpt"
        kept = f"its last checkpoint is kept: {last}" if last.exists() else "no checkpoint of it was due before"
        raise OSError(f"The trained model could not be written to {work}, {kept}. {error}") from error


def _sum(path: Path) -> int:
    """Return the CRC-32 of a file, after flushing the file to disk."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
        os.fsync(file.fileno())
    return found


def outcome_of(folder: Path | None) -> dict[str, Any]:
    """Return what the manifest of a trained stage tells about its training; that of no training if there is none."""
    manifest = read_json(folder / NAME) if folder else {}
    nothing = {"seconds": 0.0, "validation_loss": None, "throughput": None, "trained_parameters": 0, "computed_by": []}
    return {name: manifest.get(name, of_none) for name, of_none in nothing.items()}


def make_once(folder: Path, make: Callable[[Path], None], fingerprint: str | None = None) -> Path:
    """Return `folder`, complete or not there at all; of several runs one makes it and the others wait.

    All processes of an arm call this. Rank zero decides whether the folder is made, and moves it to its place. A folder
    that exists already is verified, and put aside if the method it was trained with has another fingerprint now.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def is_made() -> bool:
            stack.enter_context(locked(folder.with_suffix(".lock")))
            if not folder.exists():
                return False
            if verify_manifest(folder, folder.name).get("fingerprint") == fingerprint:
                return True
            put_aside(folder)
            return False

        if not process_group.decided_by_rank_zero(is_made):
            work = folder.with_suffix(".work")
            work.mkdir(exist_ok=True)
            make(work)
            if process_group.rank() == 0:
                os.replace(work / "out", folder)
                shutil.rmtree(work)
        process_group.barrier()  # every rank may read the folder when this returns
    return folder


def locked(path: Path) -> AcquireReturnProxy:
    """Return a lock that is held; `PreemptedError` on preemption while another process holds it."""
    while True:
        try:
            return FileLock(path).acquire(timeout=1)
        except Timeout as error:
            if preemption.stop_requested():
                raise preemption.PreemptedError(f"preempted while another process holds {path}") from error


def write_outcome(folder: Path, key: str, outcome: Outcome, fingerprint: str | None = None) -> None:
    """Write the manifest of a trained stage, with its time, losses, throughput, and what computed it."""
    facts = {
        "fingerprint": fingerprint,
        "computed_by": [provenance()],
        "seconds": outcome.seconds,
        "validation_loss": outcome.validation_loss,
        "throughput": outcome.throughput,
        "trained_parameters": sum(p.numel() for p in outcome.model.parameters() if p.requires_grad),
    }
    write_manifest(folder, key, **facts)
