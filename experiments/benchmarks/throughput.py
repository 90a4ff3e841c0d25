"""Training through LongContextModule and Lightning's Trainer against a plain PyTorch loop over the stock model."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from hydra import compose, initialize_config_module
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from experiments.benchmarks.measure import Comparison, Options, costs, faster, wait_for
from experiments.benchmarks.models import llama
from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.models.attach import attach
from lcx_lightning.schema.build import build
from lcx_lightning.training.callbacks.checkpoint import CheckpointOwner
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.fit import fit
from lcx_lightning.training.lr_schedules import warmup_stable_decay
from lcx_lightning.training.module import LongContextModule
from lcx_lightning.training.optimizers import adamw

LAYERS, HEADS = 6, 8  # 23 million parameters
ROWS, LENGTH, STEPS = 2, 256, 4
CLIP = 1.0
METHODS = {"Position Interpolation": "pi", "CLEX": "clex"}  # dense; the second learns its scaling
PLAIN = "plain loop, stock model"
NEVER = 1e6  # seconds
OPTIMIZER = partial(adamw, lr=1e-4, method_lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0)


def run(options: Options) -> list[Comparison]:
    """Compare seconds of the same steps, first to last, and of a checkpoint with what is trained between two."""
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run")
    layers, steps = (1, 2) if options.quick else (LAYERS, STEPS)
    data = LongContextData(build(config.data.corpus, "data.corpus"), ByteTokens(), {"corpus": 1.0})
    calls = {PLAIN: plain(llama(layers, HEADS, options.device), data, steps)}
    models = {name: attach(llama(layers, HEADS, options.device), m, factor=4) for name, m in METHODS.items()}
    for name, model in models.items():
        calls[name] = partial(through_trainer, model, data, steps, NEVER, options.device)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.repeats + 1):
        for name, call in calls.items():
            taken = call()["seconds"]
            if turn:
                seconds[name].append(taken)
    model = models["CLEX"]
    interval = f"{config.checkpoint_seconds} s of training"
    writing = f"a checkpoint of {sum(p.numel() for p in model.parameters()) / 1e6:.0f} million parameters and AdamW"
    measured = through_trainer(model, data, 2 + options.repeats, 1e-6, options.device)
    one = measured["checkpoint_seconds"] / measured["checkpoints"]
    share = {writing: [one], interval: [float(config.checkpoint_seconds)]}
    return [*(faster(name, PLAIN, seconds, 0.95) for name in METHODS), costs(writing, interval, share, 0.05)]


def plain(model: PreTrainedModel, data: LongContextData, steps: int) -> Callable[[], dict[str, float]]:
    """Return a plain loop over the steps, with a new optimizer each time it is called, and the seconds that it took."""
    model.train()

    def loop() -> dict[str, float]:
        optimizer: Any = OPTIMIZER(model)
        schedule = LambdaLR(optimizer, warmup_stable_decay(steps=steps, warmup=1, decay=0.0))
        start = time.perf_counter()
        for step in range(steps):
            ids = data.batch(step, 0, ROWS, LENGTH)["input_ids"].to(model.device)
            logits = model(input_ids=ids, use_cache=False).logits
            loss = cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
        wait_for(str(model.device))
        return {"seconds": time.perf_counter() - start}

    return loop


def through_trainer(
    model: PreTrainedModel, data: LongContextData, steps: int, checkpoint_seconds: float, device: str
) -> dict[str, Any]:
    """Return what the same steps take as every run takes them."""
    module = LongContextModule(
        lambda: model.train(),
        optimizer=OPTIMIZER,
        schedule=warmup_stable_decay(steps=steps, warmup=1, decay=0.0),
        seed=0,
    )
    batches = LongContextDataModule(data, seed=0, rows=ROWS, length=LENGTH, steps=steps, validation_steps=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = partial(
            L.Trainer,
            accelerator="cpu" if device == "cpu" else "gpu",
            devices=1,
            max_steps=steps,
            gradient_clip_val=CLIP,
            default_root_dir=folder,
        )
        outcome = fit(
            module,
            batches,
            trainer,
            owner=CheckpointOwner(Path(folder), "throughput", "this benchmark"),
            checkpoint_seconds=checkpoint_seconds,
            progress=Throughput(lambda *_: None, rows=ROWS, length=LENGTH, peak=lambda _: None),
            skip_nonfinite=False,
            logger=False,
        )
    return outcome.throughput
