"""Non-finite numbers: a step whose loss or gradient is not finite stops the run, or is skipped and counted."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from lcx_lightning.training.module import LongContextModule


class NonFiniteError(RuntimeError):
    """A training step had a loss or a gradient that is not finite."""


class NonFiniteGuard(L.Callback):
    """Check loss and gradient of every step before the optimizer uses them. All processes decide alike.

    The norm of the gradient before it is clipped is logged as `train/grad_norm`, where gradients are not sharded.

    A skipped step changes neither weights nor moments, because the optimizer sees no gradient. It counts as a step of
    the schedule.

    Args:
        skip: Whether such a step is skipped and counted. If False, it ends the run with a NonFiniteError.
        documents: Function that returns the names of the documents in each row of a batch, by the batch's index.
    """

    def __init__(self, *, skip: bool, documents: Callable[[int], list[list[str]]]) -> None:
        self._skip, self._documents = skip, documents
        self._losses: list[Tensor] = []  # losses of the micro-batches of this step
        self._length = 0  # length of their rows in tokens
        self.skipped = 0  # number of skipped steps, in all sessions

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        self._length = batch["input_ids"].shape[1]

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Raise a NonFiniteError, or drop the gradient, if loss or gradient is not finite."""
        loss, self._losses = torch.stack(self._losses).sum(), []
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = _norm(gradients)
        if trainer.strategy.reduce_boolean_decision(bool(loss.isfinite() & norm.isfinite())):
            if not any(isinstance(gradient, DTensor) for gradient in gradients):
                pl_module.log("train/grad_norm", norm)
            return
        if not self._skip:
            assert isinstance(pl_module, LongContextModule)
            raise NonFiniteError(self._report(trainer, pl_module, float(loss), float(norm)))
        self.skipped += 1
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def _report(self, trainer: L.Trainer, module: LongContextModule, loss: float, norm: float) -> str:
        """Return a message with the contents of the step, and what to do."""
        step, parts = trainer.global_step, trainer.accumulate_grad_batches
        batches = [self._documents(step * parts + part) for part in range(parts)]
        rows = "; ".join(" + ".join(names) for batch in batches for names in batch)
        placement_seed, factor = module.placement(step, self._length)
        sampled = "" if factor is None else f"The sampled factor is {factor:.6g} (placement_seed {placement_seed}). "
        return (
            f"step {step} of {trainer.max_steps} has a loss of {loss:g} and a gradient of norm {norm:g}. {sampled}Its "
            f"rows are made of: {rows}. No weight was changed by it. Lower the learning rates, or skip and count such "
            "steps with nonfinite=skip."
        )


def _norm(gradients: list[Tensor]) -> Tensor:
    """Return the norm of the gradients that this process holds; of its shards, if they are sharded."""
    local = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    return torch.stack([norm.float() for norm in torch._foreach_norm(local)]).norm()  # pyright: ignore[reportPrivateImportUsage]
