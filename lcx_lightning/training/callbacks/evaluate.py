"""Evaluation during training, without a trace in it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.utilities.seed import isolate_rng
from torch.distributed.fsdp import register_fsdp_forward_method

from lcx_lightning.models.context_parallel import whole_texts
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.module import LongContextModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "looked_at"  # of the evaluation on a model in shards


class EvaluateInLoop(L.Callback):
    """Evaluate after every so many optimizer steps, and leave training as if nobody had looked.

    Modes and random states are put back, no gradient is taken, and the time is no part of that of training. Of several
    processes all evaluate all of the same, in step with each other, since each has a part of every weight; where they
    share texts in training, they read whole ones here. What is evaluated at a step is there when the checkpoint of that
    step is.

    Args:
        every: Optimizer steps.
        look: Evaluates a model at a step, and returns what loggers are told, by name.
        progress: That measures training.
    """

    def __init__(
        self, every: int, look: Callable[["PreTrainedModel", int], dict[str, float]], progress: Throughput
    ) -> None:
        self._every, self._look, self._progress = every, look, progress

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches or trainer.global_step % self._every:
            return
        assert isinstance(pl_module, LongContextModule)
        model, begun = pl_module.model, time.monotonic()
        assert model is not None
        told = without_side_effects(model, lambda: self._look(model, trainer.global_step))
        for logger in trainer.loggers:
            logger.log_metrics(told, step=trainer.global_step)
        self._progress.leave_out(time.monotonic() - begun)


def without_side_effects(model: "PreTrainedModel", look: Callable[[], Any]) -> Any:
    """Return look(), of a model in evaluation mode, and whole where it is in shards; leave no trace of it."""
    setattr(model, NAME, look)
    register_fsdp_forward_method(model, NAME)  # the head and the embeddings are whole around it, layers by themselves
    try:
        with isolate_rng(), _evaluating(model), whole_texts(model):
            return getattr(model, NAME)()
    finally:
        delattr(model, NAME)


@contextmanager
def _evaluating(model: "PreTrainedModel") -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
