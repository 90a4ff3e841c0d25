"""A callback that reports steps, throughput and training time, and keeps what it measures across restarts."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from lcx_lightning.models.attached import method_of
from lcx_lightning.training.flops import step_flops
from lcx_lightning.training.module import LongContextModule

Report = Callable[[int, int, str], None]  # steps done, steps in all, a few words


class Throughput(L.Callback):
    """Report about twice a second, and measure what training costs.

    Args:
        report: Receives steps done, steps in all, and throughput with the loss in words.
        rows: Of a step, over all devices and micro-batches.
        length: Of a row, tokens.
        peak: FLOP/s of a device at dense bfloat16, None if they are not known: then there is no utilisation.
    """

    def __init__(self, report: Report, *, rows: int, length: int, peak: Callable[[torch.device], float | None]) -> None:
        self._report, self._rows, self._length, self._peak_of = report, rows, length, peak
        self._peak: float | None = None
        self._flops = 0  # of a step, over all devices
        self._seconds = {"training": 0.0, "data wait": 0.0, "checkpoints": 0.0}  # wall clock, in all sessions
        self._checkpoints = 0
        self._saved = False  # since the last step
        self._since = self._told = self._told_step = self._ended = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training, wall clock, in all sessions."""
        return self._seconds["training"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._get_to_know(trainer)
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._since = self._told = self._ended = time.monotonic()
        self._told_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        between = time.monotonic() - self._ended  # from the end of a step to its successor's batch
        self._seconds["checkpoints" if self._saved else "data wait"] += between
        self._checkpoints += self._saved
        self._saved = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._saved = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = self._ended = time.monotonic()
        self._seconds["training"] += now - self._since
        self._since = now
        if now - self._told < 0.5 and trainer.global_step < trainer.max_steps:
            return
        speed = (trainer.global_step - self._told_step) / max(now - self._told, 1e-9)  # steps per second
        self._told, self._told_step = now, trainer.global_step
        measured = self._rates(trainer, speed)
        for logger in trainer.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in measured.items()}, step=trainer.global_step)
        used = f", {measured['mfu']:.0%} MFU" if "mfu" in measured else ""
        words = f"{measured['tokens_per_second']:,.0f} tokens/s{used}, loss {float(outputs['loss']):.2f}"
        self._report(trainer.global_step, trainer.max_steps, words)

    def leave_out(self, seconds: float) -> None:
        """Count the last `seconds` as no part of training."""
        self._since, self._told, self._ended = (x + seconds for x in (self._since, self._told, self._ended))

    def throughput(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return what training took and how well it used the devices, in all sessions.

        Memory is the largest of this process on CPU, weights, data and libraries included, and what torch has had
        allocated at once on CUDA, in this session, evaluation in the loop included. `mfu` is None on a device whose
        peak is not known.
        """
        self._get_to_know(trainer)  # where training was over before, it did not start
        rates = self._rates(trainer, trainer.global_step / max(self.seconds, 1e-9))
        return {
            "steps": trainer.global_step,
            "tokens": trainer.global_step * self._rows * self._length,
            "tokens_per_second": rates["tokens_per_second"],
            "flops_per_token": self._flops / (self._rows * self._length),
            "peak_flops": self._peak,
            "mfu": rates.get("mfu"),
            "seconds": self.seconds,
            "data_wait_seconds": self._seconds["data wait"],
            "checkpoint_seconds": self._seconds["checkpoints"],
            "checkpoints": self._checkpoints,
            "memory_peak_bytes": memory_peak(trainer.strategy.root_device),
            "devices": trainer.world_size,
            "device_seconds": self.seconds * trainer.world_size,
        }

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "spent": self._seconds, "checkpoints": self._checkpoints}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds |= state_dict.get("spent", {}) | {"training": state_dict["seconds"]}
        self._checkpoints = state_dict.get("checkpoints", 0)

    def _get_to_know(self, trainer: L.Trainer) -> None:
        assert isinstance(trainer.lightning_module, LongContextModule)
        model: Any = trainer.lightning_module.model
        self._flops = self._rows * step_flops(model, method_of(model).pattern, self._length)
        self._peak = self._peak_of(trainer.strategy.root_device)

    def _rates(self, trainer: L.Trainer, steps_per_second: float) -> dict[str, float]:
        """Return tokens per second over all devices, and MFU where the peak is known."""
        rates = {"tokens_per_second": steps_per_second * self._rows * self._length}
        if self._peak:
            rates["mfu"] = steps_per_second * self._flops / (self._peak * trainer.world_size)
        return rates


def memory_peak(device: torch.device) -> int | None:
    """Return the most bytes held at once: on CUDA by torch, on CPU by this process; None where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if device.type != "cpu" or not status.exists():
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else None
