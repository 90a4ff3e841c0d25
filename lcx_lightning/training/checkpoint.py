"""Checkpoints that are whole at every moment: a kill in the middle of writing leaves the one before."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO


class WholeCheckpoints(TorchCheckpointIO):
    """Write beside the checkpoint, then rename.

    Lightning writes to the temporary folder and moves, which copies where that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        part = f"{path}.part"
        super().save_checkpoint(checkpoint, part, storage_options)
        os.replace(part, path)
