"""Numbers that are not finite: a step whose loss or gradient is not stops the run, or is left out and counted."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from lcx_lightning.training.module import LongContextModule


class NonFiniteError(RuntimeError):
    """A step of training had a loss or a gradient that is no finite number."""


class NonFiniteGuard(L.Callback):
    """Look at loss and gradient of every step before the optimizer does. Of several processes all decide alike.

    A step that is left out changes neither weights nor moments, because the optimizer is shown no gradient. It counts
    as a step of the schedule.

    Args:
        skip: Leave such a step out, and count it, in place of ending the run.
        documents: Names of the documents of each row of a batch, by its number.
    """

    def __init__(self, *, skip: bool, documents: Callable[[int], list[list[str]]]) -> None:
        self._skip, self._documents = skip, documents
        self._losses: list[Tensor] = []  # of the micro-batches of this step
        self._length = 0  # of their rows, tokens
        self.skipped = 0  # steps, in all sessions

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        self._length = batch["input_ids"].shape[1]

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Raise a NonFiniteError, or hide the gradient, if a number is not finite."""
        loss, self._losses = torch.stack(self._losses).sum(), []
        norm = _gradient_norm(optimizer)
        if trainer.strategy.reduce_boolean_decision(bool(loss.isfinite() & norm.isfinite())):
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
        """Return what the step was made of, and what to do."""
        step, parts = trainer.global_step, trainer.accumulate_grad_batches
        batches = [self._documents(step * parts + part) for part in range(parts)]
        rows = "; ".join(" + ".join(names) for batch in batches for names in batch)
        placement_seed, factor = module.placement(step, self._length)
        placed = "" if factor is None else f"The sampled factor is {factor:.6g} (draw {placement_seed}). "
        return (
            f"step {step} of {trainer.max_steps} has a loss of {loss:g} and a gradient of norm {norm:g}. {placed}Its "
            f"rows are of: {rows}. No weight has taken it in. Lower the learning rates, or leave such steps out, and "
            "have them counted, with nonfinite=skip."
        )


def _gradient_norm(optimizer: Optimizer) -> Tensor:
    """Return the norm of the gradients that this process holds: of its shards, where they are sharded."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    held = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    return torch.stack([norm.float() for norm in torch._foreach_norm(held)]).norm()  # pyright: ignore[reportPrivateImportUsage]
