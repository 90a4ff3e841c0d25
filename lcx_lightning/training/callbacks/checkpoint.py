"""Checkpoints that are whole at every moment: a kill in the middle of writing leaves the one before."""

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


class Owner(NamedTuple):
    """The training that checkpoints belong to."""

    folder: Path  # of its checkpoints alone
    key: str  # of all that its weights depend on
    name: str  # for people


class WholeCheckpoints(TorchCheckpointIO):
    """Write beside the checkpoint, then rename; read no other training's.

    Lightning makes the file in memory first, and moves it from the temporary folder, which copies where that is another
    file system.

    Args:
        owner: The training whose checkpoints these are; each says so.
    """

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self._owner = owner

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save; if the disk is full, OSError names what there still is."""
        part = Path(f"{path}.part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(checkpoint | {"owner": {"key": self._owner.key, "name": self._owner.name}}, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # RuntimeError: of torch's writer, for the same reasons
            part.unlink(missing_ok=True)
            kept = f"the one before is kept: {path}" if Path(path).exists() else "there is none before it"
            before = error.__context__  # torch's writer closes, and fails again
            why = before if isinstance(before, OSError) else error
            raise OSError(f"No checkpoint could be written to {path}, {kept}. {why}") from error
        os.replace(part, path)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the checkpoint, whose tensors are read when they are used.

        Raises:
            ValueError: If a byte of it is not as it was written, or it is another training's.
        """
        try:
            with zipfile.ZipFile(path) as file:  # torch looks at no sums where it maps a file
                damaged = file.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} is not as it was written.")
            checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no whole checkpoint of this program: {str(error).splitlines()[0]} Delete it, and the stage "
                "starts from its beginning."
            ) from error
        found = checkpoint.get("owner", {"key": None, "name": "a training that it does not name"})
        if found["key"] != self._owner.key:
            raise ValueError(
                f"{path} must be a checkpoint of {self._owner.name}, but is one of {found['name']}. Move it away, and "
                "the stage starts from its beginning."
            )
        return checkpoint


class Checkpoints(L.Callback):
    """Save so often that a kill loses no more than `seconds` of training, or one step, and when preempted.

    Rank 0 decides, between optimizer steps: it saves if the next one, which takes as long as the last, would end too
    late. Raises `PreemptedError` when preempted, in training or in validation, the checkpoint saved.

    Args:
        path: Of the checkpoint; it replaces the one before.
        seconds: Of training from one checkpoint to the next.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._since = self._ended = 0.0  # of the checkpoint before, and of the step before

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        preemption.listen()  # Lightning has put a handler of its own there, which broadcasts in the middle of anything
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
            self._give_back(trainer)
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
            self._give_back(trainer)

    def _give_back(self, trainer: L.Trainer) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # in validation alone the checkpoint is that of the last step
            trainer.save_checkpoint(self._path)
        raise preemption.PreemptedError(f"preempted after step {trainer.global_step}, saved to {self._path}")
