"""Curves of training: kept as one JSON line for each logged step, and told to whoever listens."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

Listener = Callable[[Mapping[str, float], int], None]  # numbers by name, optimizer step


class Curves(Logger):
    """Logger of Lightning that appends lines to a file, in the first process.

    Args:
        path: The file.
        listener: Function that is told the same. None if nobody listens.
    """

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        super().__init__()
        self._path, self._listener = path, listener

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "curves"

    @property
    def version(self) -> str:
        """Version of the logger: there is one."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep nothing: run.json has the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep numbers of an optimizer step."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step} | dict(metrics)) + "\n")
        if self._listener:
            self._listener(metrics, step or 0)
