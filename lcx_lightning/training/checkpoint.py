"""Checkpoints that are whole at every moment: a kill in the middle of writing leaves the one before."""

import os
import pickle
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lcx_lightning.training import preemption


class WholeCheckpoints(TorchCheckpointIO):
    """Write beside the checkpoint, then rename.

    Lightning makes the file in memory first, and moves it from the temporary folder, which copies where that is another
    file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save; if the disk is full, OSError names what there still is."""
        part = Path(f"{path}.part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # RuntimeError: of torch's writer, for the same reasons
            part.unlink(missing_ok=True)
            kept = f"the one before is kept: {path}" if Path(path).exists() else "there is none before it"
            raise OSError(f"No checkpoint could be written to {path}, {kept}. {error}") from error
        os.replace(part, path)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the checkpoint, whose tensors are read when they are used."""
        try:
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{path} is no whole checkpoint, it was damaged after it was written: {error}. Delete it, and the "
                "stage starts from its beginning."
            ) from error


class Checkpoints(L.Callback):
    """Save after the first step that ends `seconds` or more after the checkpoint before, and when preempted.

    Rank 0 decides, between optimizer steps. Raises `PreemptedError` when preempted, the checkpoint saved.

    Args:
        path: Of the checkpoint; it replaces the one before.
        seconds: From one checkpoint to the next.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds, self._since = path, seconds, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        preemption.listen()  # Lightning has put a handler of its own there, which broadcasts in the middle of anything
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        due = time.monotonic() - self._since >= self._seconds
        due, asked = trainer.strategy.broadcast((due, preemption.asked()))
        if due or asked:
            trainer.save_checkpoint(self._path)
            self._since = time.monotonic()
        if asked:
            raise preemption.PreemptedError(f"preempted after step {trainer.global_step}, saved to {self._path}")
