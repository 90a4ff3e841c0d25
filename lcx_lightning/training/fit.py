"""One stage of training, from its first step or from its last checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.training.callbacks.checkpoint import CheckpointOwner, Checkpoints, WholeCheckpoints
from lcx_lightning.training.callbacks.nonfinite import NonFiniteGuard
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.module import LongContextModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Outcome:
    """The result of a stage of training."""

    model: "PreTrainedModel"  # trained model, in evaluation mode
    seconds: float  # time of the training steps, wall clock, restarts included
    validation_loss: float  # nats per token
    throughput: dict[str, Any]  # cost of training, and the number of skipped steps


def fit(  # noqa: PLR0913 a stage in full
    module: LongContextModule,
    data: LongContextDataModule,
    trainer: Callable[..., L.Trainer],
    *,
    owner: CheckpointOwner,
    checkpoint_seconds: float,
    progress: Throughput,
    skip_nonfinite: bool,
    logger: Any,
    callbacks: Sequence[L.Callback] = (),
) -> Outcome:
    """Return the result of training for the trainer's `max_steps`, the model in evaluation mode.

    If `owner` has a checkpoint, training resumes from it. All processes call this together; with several, the model is
    sharded afterwards.

    Args:
        module: Model, loss and optimizer.
        data: Training and validation batches.
        trainer: Function that builds Lightning's Trainer, with `max_steps` set; all other arguments are added here.
        owner: Folder, key and name of the checkpoints of this stage.
        checkpoint_seconds: Largest time in seconds from one checkpoint to the next.
        progress: Callback that reports and measures the training.
        skip_nonfinite: Whether steps whose loss or gradient is not finite are skipped. If False, they raise an error.
        logger: Lightning logger, or False.
        callbacks: Further callbacks, called before a checkpoint is saved.

    Raises:
        ValueError: If the checkpoint is damaged, or belongs to another stage.
        OSError: If a checkpoint cannot be written.
        NonFiniteError: If the loss or the gradient of a step is not finite, and such steps are not skipped.
        PreemptedError: On preemption, after a checkpoint was saved.
    """
    finite = NonFiniteGuard(skip=skip_nonfinite, documents=data.documents)
    last = owner.folder / "last.ckpt"
    loop = trainer(
        callbacks=[progress, finite, *callbacks, Checkpoints(last, checkpoint_seconds)],
        plugins=[WholeCheckpoints(owner), LightningEnvironment()],  # ignores the variables of Slurm and torchrun
        logger=logger,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,
        enable_checkpointing=False,  # Lightning's own checkpoints
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loop.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    assert module.model is not None
    if "validation/loss" not in loop.callback_metrics:  # the checkpoint was that of the last step: nothing was trained
        loop.validate(module, datamodule=data, verbose=False)
    throughput = progress.throughput(loop) | {"skipped_steps": finite.skipped}
    return Outcome(module.model.eval(), progress.seconds, float(loop.callback_metrics["validation/loss"]), throughput)
