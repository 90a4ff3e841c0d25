"""A callback that reports steps, throughput and training time, and keeps the time across restarts."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L

Report = Callable[[int, int, str], None]  # steps done, steps in all, a few words


class Progress(L.Callback):
    """Report about twice a second.

    Args:
        report: Receives steps done, steps in all, and throughput with the loss in words.
        tokens: Tokens of a step.
    """

    def __init__(self, report: Report, tokens: int) -> None:
        self._report, self._tokens = report, tokens
        self.seconds = 0.0  # of training, wall clock, in all sessions
        self._since = self._told = self._told_step = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = self._told = time.monotonic()
        self._told_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        if now - self._told < 0.5 and trainer.global_step < trainer.max_steps:
            return
        speed = (trainer.global_step - self._told_step) * self._tokens / max(now - self._told, 1e-9)
        self._told, self._told_step = now, trainer.global_step
        self._report(
            trainer.global_step, trainer.max_steps, f"{speed:,.0f} tokens/s, loss {float(outputs['loss']):.2f}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
