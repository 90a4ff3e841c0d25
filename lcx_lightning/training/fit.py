"""One stage of training, from the first step or from where it stopped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.training.callbacks.checkpoint import Checkpoints, Owner, WholeCheckpoints
from lcx_lightning.training.callbacks.nonfinite import NonFiniteGuard
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.module import LongContextModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Outcome:
    """What a stage of training leaves behind, beside the model."""

    model: "PreTrainedModel"
    seconds: float  # of training steps, wall clock, restarts included
    validation_loss: float  # nats per token
    throughput: dict[str, Any]  # what training took, and the steps that were left out


def fit(  # noqa: PLR0913 a stage in full
    module: LongContextModule,
    data: LongContextDataModule,
    trainer: Callable[..., L.Trainer],
    *,
    owner: Owner,
    checkpoint_seconds: float,
    progress: Throughput,
    skip_nonfinite: bool,
    logger: Any,
    callbacks: Sequence[L.Callback] = (),
) -> Outcome:
    """Train for the trainer's `max_steps` and return the model in evaluation mode.

    If there is a checkpoint of `owner`, training goes on from it. Of several processes all call this; the model is in
    parts then. `PreemptedError` is raised when the machine was asked for back, and a checkpoint saved.

    Args:
        module: Model, loss and optimizer.
        data: Batches.
        trainer: Makes Lightning's Trainer, `max_steps` given; the rest of its arguments are added here.
        owner: Where checkpoints of this training are, and what they are known by.
        checkpoint_seconds: Of training from one checkpoint to the next.
        progress: Tells and measures it.
        skip_nonfinite: Leave out steps whose loss or gradient is not finite, in place of ending with an error.
        logger: A Lightning logger, or False.
        callbacks: Others, called before a checkpoint is saved.

    Raises:
        ValueError: If the checkpoint is damaged or another training's.
        OSError: If a checkpoint cannot be written.
        NonFiniteError: If a step has a loss or a gradient that is not finite, and is not to be left out.
    """
    finite = NonFiniteGuard(skip=skip_nonfinite, documents=data.documents)
    last = owner.folder / "last.ckpt"
    loop = trainer(
        callbacks=[progress, finite, *callbacks, Checkpoints(last, checkpoint_seconds)],
        plugins=[WholeCheckpoints(owner), LightningEnvironment()],  # whatever else Slurm or torchrun have set
        logger=logger,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,
        enable_checkpointing=False,  # of its own
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loop.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    assert module.model is not None
    if "validation/loss" not in loop.callback_metrics:  # the checkpoint was that of the last step
        loop.validate(module, datamodule=data, verbose=False)
    throughput = progress.throughput(loop) | {"skipped_steps": finite.skipped}
    return Outcome(module.model.eval(), progress.seconds, float(loop.callback_metrics["validation/loss"]), throughput)
