"""Checkpoints that are written atomically: a process killed while writing leaves the previous one intact."""

import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn

from lcx_lightning.distributed import process_group
from lcx_lightning.training import preemption


class CheckpointOwner(NamedTuple):
    """The training stage that checkpoints belong to."""

    folder: Path  # folder of its checkpoints, and of no other stage's
    key: str  # hash of everything that its weights depend on
    name: str  # description for messages


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoint files that are written to a temporary name and renamed, and that only their owner can read.

    Lightning's own class builds the file in memory first, and moves it from the temporary folder, which is a copy if
    that is on another file system.

    Args:
        owner: Training stage that the checkpoints belong to; its key and name are saved in each.
    """

    def __init__(self, owner: CheckpointOwner) -> None:
        super().__init__()
        self._owner = owner

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint.

        Raises:
            OSError: If it cannot be written, such as on a full disk; the message says what is still there.
        """
        part = Path(f"{path}.part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(checkpoint | {"owner": {"key": self._owner.key, "name": self._owner.name}}, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError for the same reasons
            part.unlink(missing_ok=True)
            kept = f"the previous one is kept: {path}" if Path(path).exists() else "and there is no previous one"
            before = error.__context__  # torch's writer fails a second time when it closes the file
            why = before if isinstance(before, OSError) else error
            raise OSError(f"No checkpoint could be written to {path}, {kept}. {why}") from error
        os.replace(part, path)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the checkpoint; its tensors are read from the file when they are used.

        Raises:
            ValueError: If the file is damaged, or belongs to another training stage.
        """
        try:
            with zipfile.ZipFile(path) as file:  # torch does not verify checksums of a memory-mapped file
                damaged = file.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} is damaged.")
            checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a complete checkpoint of this program: {str(error).splitlines()[0]} Delete it to start "
                "the stage from its beginning."
            ) from error
        found = checkpoint.get("owner", {"key": None, "name": "a training that it does not name"})
        if found["key"] != self._owner.key:
            raise ValueError(
                f"{path} must be a checkpoint of {self._owner.name}, but is one of {found['name']}. Move it away to "
                "start the stage from its beginning."
            )
        return checkpoint


class Checkpoints(L.Callback):
    """Save so often that a killed process loses at most `seconds` of training, or one step; and save when preempted.

    Rank 0 decides between optimizer steps: it saves if the next step, expected to take as long as the last one, would
    end too late. When preempted, in training or validation, it saves and raises `PreemptedError`.

    Args:
        path: Path of the checkpoint; a new one replaces the previous one.
        seconds: Largest time in seconds from one checkpoint to the next.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._since = self._ended = 0.0  # times of the last checkpoint, and of the end of the last step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        preemption.listen()  # replaces Lightning's own handler, which would broadcast at any moment
        self._since = self._ended = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        now = time.monotonic()
        due = now + (now - self._ended) - self._since > self._seconds
        self._ended = now
        said = process_group.all_gather((due, preemption.stop_requested()))
        due = said[0][0]
        if any(asked for _, asked in said):
            self._save_and_stop(trainer)
        if due:
            trainer.save_checkpoint(self._path)
            self._since = self._ended = time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        preemption.listen()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if any(process_group.all_gather(preemption.stop_requested())):
            self._save_and_stop(trainer)

    def _save_and_stop(self, trainer: L.Trainer) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # in a validation without training, the last checkpoint is complete
            trainer.save_checkpoint(self._path)
        raise preemption.PreemptedError(f"preempted after step {trainer.global_step}, saved to {self._path}")
