"""A callback that reports steps, throughput and training time; its measurements survive restarts."""

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

Report = Callable[[int, int, str], None]  # steps done, total steps, description


class Throughput(L.Callback):
    """Report progress about twice a second, and measure the cost of training.

    Args:
        report: Function called with the steps done, the total number of steps, and throughput and loss in words.
        rows: Number of rows in a step, over all devices and micro-batches.
        length: Length of a row in tokens.
        peak: Function that returns the peak FLOP/s of a device in dense bfloat16, or None if unknown; MFU is then not
            reported.
    """

    def __init__(self, report: Report, *, rows: int, length: int, peak: Callable[[torch.device], float | None]) -> None:
        self._report, self._rows, self._length, self._peak_of = report, rows, length, peak
        self._peak: float | None = None
        self._flops = 0  # FLOPs of a step, over all devices
        self._seconds = {"training": 0.0, "data wait": 0.0, "checkpoints": 0.0}  # wall clock, in all sessions
        self._checkpoints = 0
        self._saved = False  # whether a checkpoint was saved since the last step
        self._since = self._reported = self._reported_step = self._ended = 0.0

    @property
    def seconds(self) -> float:
        """Training time in seconds, wall clock, in all sessions."""
        return self._seconds["training"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._measure_model(trainer)
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._since = self._reported = self._ended = time.monotonic()
        self._reported_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        between = time.monotonic() - self._ended  # from the end of a step to the next batch
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
        if now - self._reported < 0.5 and trainer.global_step < trainer.max_steps:
            return
        speed = (trainer.global_step - self._reported_step) / max(now - self._reported, 1e-9)  # steps per second
        self._reported, self._reported_step = now, trainer.global_step
        measured = self._rates(trainer, speed)
        for logger in trainer.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in measured.items()}, step=trainer.global_step)
        used = f", {measured['mfu']:.0%} MFU" if "mfu" in measured else ""
        words = f"{measured['tokens_per_second']:,.0f} tokens/s{used}, loss {float(outputs['loss']):.2f}"
        self._report(trainer.global_step, trainer.max_steps, words)

    def leave_out(self, seconds: float) -> None:
        """Exclude the last `seconds` from the training time."""
        self._since, self._reported, self._ended = (x + seconds for x in (self._since, self._reported, self._ended))

    def throughput(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return the cost of training and the utilisation of the devices, in all sessions.

        Peak memory is that of this session, evaluation in the loop included: on CPU the memory of this process with
        weights, data and libraries, on CUDA the memory that torch had allocated. `mfu` is None on a device whose peak
        FLOP/s are unknown.
        """
        self._measure_model(trainer)  # on_train_start was not called if training had finished in an earlier session
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

    def _measure_model(self, trainer: L.Trainer) -> None:
        """Set the FLOPs of a step and the peak FLOP/s of the device."""
        assert isinstance(trainer.lightning_module, LongContextModule)
        model: Any = trainer.lightning_module.model
        self._flops = self._rows * step_flops(model, method_of(model).pattern, self._length)
        self._peak = self._peak_of(trainer.strategy.root_device)

    def _rates(self, trainer: L.Trainer, steps_per_second: float) -> dict[str, float]:
        """Return tokens per second over all devices, and MFU if the peak FLOP/s are known."""
        rates = {"tokens_per_second": steps_per_second * self._rows * self._length}
        if self._peak:
            rates["mfu"] = steps_per_second * self._flops / (self._peak * trainer.world_size)
        return rates


def memory_peak(device: torch.device) -> int | None:
    """Return the peak memory in bytes: on CUDA of torch, on CPU of this process; None if unavailable."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if device.type != "cpu" or not status.exists():
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else None
