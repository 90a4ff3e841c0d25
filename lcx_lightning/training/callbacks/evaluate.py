"""Evaluation during training, without any effect on the training."""

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

NAME = "evaluate_in_loop"  # attribute of a sharded model under which FSDP knows the evaluation


class EvaluateInLoop(L.Callback):
    """Evaluate after every `every` optimizer steps, and leave training as it would be without.

    Modes and random states are restored, no gradient is computed, and the time does not count as training. All
    processes make the same evaluations at the same time, because each has a shard of every weight. If they share texts
    in training, each reads whole texts here. The results of a step are written before the checkpoint of that step.

    Args:
        every: Number of optimizer steps from one evaluation to the next.
        evaluate: Function that evaluates a model at a step, and returns numbers for loggers, by name.
        progress: Callback that measures the training.
    """

    def __init__(
        self, every: int, evaluate: Callable[["PreTrainedModel", int], dict[str, float]], progress: Throughput
    ) -> None:
        self._every, self._evaluate, self._progress = every, evaluate, progress

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches or trainer.global_step % self._every:
            return
        assert isinstance(pl_module, LongContextModule)
        model, begun = pl_module.model, time.monotonic()
        assert model is not None
        metrics = without_side_effects(model, lambda: self._evaluate(model, trainer.global_step))
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        self._progress.leave_out(time.monotonic() - begun)


def without_side_effects(model: "PreTrainedModel", evaluate: Callable[[], Any]) -> Any:
    """Return evaluate(), called with the model in evaluation mode and its shards gathered, and restore its state."""
    setattr(model, NAME, evaluate)
    register_fsdp_forward_method(model, NAME)  # gathers head and embeddings around it; layers gather themselves
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
