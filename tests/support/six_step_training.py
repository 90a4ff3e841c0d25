"""A training of six steps under Lightning's own Trainer, and what it is called."""

from functools import partial
from pathlib import Path

import lightning as L
from support.trainable_model import RATES, load

from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.training.callbacks.checkpoint import CheckpointOwner
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.fit import fit
from lcx_lightning.training.lr_schedules import warmup_stable_decay
from lcx_lightning.training.module import LongContextModule
from lcx_lightning.training.optimizers import MuonAdamW

STEPS, ROWS, LENGTH = 6, 2, 64
OWNER = CheckpointOwner(Path(), "one", "one training")


def train(
    data,
    folder,
    *,
    name="pretrained",
    optimizer=None,
    report=lambda *told: None,
    steps=STEPS,
    seconds=1e-6,
    peak=lambda device: None,
    skip_nonfinite=False,
    micro_batches=1,
    owner=OWNER,
):
    """Train for six steps, with a checkpoint at every one."""
    module = LongContextModule(
        partial(load, name),
        optimizer=optimizer or partial(MuonAdamW, **RATES),
        schedule=warmup_stable_decay(steps=steps, warmup=1, decay=0.5),
        seed=3,
    )
    parts = steps * micro_batches
    batches = LongContextDataModule(data, seed=3, rows=ROWS, length=LENGTH, steps=parts, validation_steps=2)
    trainer = partial(
        L.Trainer, accelerator="cpu", devices=1, max_steps=steps, gradient_clip_val=1.0, default_root_dir=folder
    )
    progress = Throughput(report, rows=micro_batches * ROWS, length=LENGTH, peak=peak)
    return fit(
        module,
        batches,
        partial(trainer, accumulate_grad_batches=micro_batches),
        owner=owner._replace(folder=folder),
        checkpoint_seconds=seconds,
        progress=progress,
        skip_nonfinite=skip_nonfinite,
        logger=False,
    )
