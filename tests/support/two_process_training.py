"""Training in one process or in two real ones: the same trainings, and what came of them."""

import logging
import multiprocessing
import os
import socket
import warnings
from functools import partial
from multiprocessing.connection import wait

import lightning as L
import torch
import torch.distributed as dist
from support.text_corpora import CORPUS_ONLY, Books
from support.trainable_model import RATES, load
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import SGD

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.distributed.fsdp import Sharded, shard, shard_layers
from lcx_lightning.distributed.process_group import all_gather
from lcx_lightning.distributed.state_dicts import gather_state_dict, load_trained_state_dict
from lcx_lightning.evaluation.mechanism.attention import Attention
from lcx_lightning.evaluation.mechanism.frequencies import Frequencies
from lcx_lightning.evaluation.perplexity.growing_context import GrowingContext
from lcx_lightning.evaluation.perplexity.nll import token_nll
from lcx_lightning.evaluation.perplexity.streaming import Streaming
from lcx_lightning.models import lm_head
from lcx_lightning.models.attach import attach
from lcx_lightning.models.lora import add_adapters
from lcx_lightning.models.sources import HubModel
from lcx_lightning.training.callbacks.checkpoint import CheckpointOwner
from lcx_lightning.training.callbacks.evaluate import EvaluateInLoop
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.fit import fit
from lcx_lightning.training.loss import next_token_loss, register_chunked_loss
from lcx_lightning.training.lr_schedules import warmup_stable_decay
from lcx_lightning.training.module import LongContextModule
from lcx_lightning.training.optimizers import MuonAdamW, adamw

STEPS, ROWS, LENGTH = 4, 4, 64
LORA = {"rank": 2, "alpha": 4, "targets": "linear", "in_full": ["embeddings", "norms"]}
TIMEOUT = 3600  # seconds: only a deadlock takes so long, however busy the machine is
CLIP = 1.0
OPTIMIZERS = {
    "sgd": lambda model: SGD(model.parameters(), lr=1.0),
    "adamw": partial(adamw, lr=0.003, method_lr=0.003, betas=(0.9, 0.999), weight_decay=0.01),
    "muon": partial(MuonAdamW, **RATES),
}


class StoppedError(Exception):
    """An interruption."""


class Watched(LongContextModule):
    """A module that notes its batches, losses, gradient norms and frequencies, and may stop before a step."""

    stop = None

    def configure_model(self):
        super().configure_model()
        self.batches, self.losses, self.norms, self.frequencies = [], [], [], []
        scaling = self.model.base_model.attached.method.scaling
        scaling.register_forward_hook(lambda module, given, out: self.frequencies.append((given[0], out.detach())))

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop:
            raise StoppedError
        self.batches.append(batch["input_ids"])
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer):
        self.norms.append(float(full(get_total_norm([p.grad for p in self.parameters() if p.grad is not None]))))


def full(x):
    return x.full_tensor() if isinstance(x, DTensor) else x


def global_batches(held, micro):
    """Return the batch of every step, made of the micro-batches of it that every rank had."""
    steps = range(0, len(held[0]), micro)
    shares = ([own[step + part] for part in range(micro) for own in held] for step in steps)
    return [torch.stack(work_units, dim=1).flatten(0, 1) for work_units in shares]


def documents():
    texts = {split: [f"{split} {i} for x in y: z += {i}\n" * 60 for i in range(3)] for split in SPLITS}
    return LongContextData(Books(**texts), ByteTokens(), CORPUS_ONLY)


def _load(name, lora):
    model = load(name)
    return add_adapters(model, **lora, seed=3) if lora else model


def train(
    folder,
    name,
    optimizer,
    *,
    steps=STEPS,
    micro=1,
    chunked=False,
    recompute=False,
    precision="32-true",
    stop=None,
    context=1,
    lora=None,
    looks=False,
):
    """Train and return what was noted, and the weights if no step was stopped at; a checkpoint at every step."""
    ranks = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    torch.manual_seed(0)
    lm_head.LOGITS = 7 * 257 if chunked else 2**25
    module = Watched(
        partial(_load, name, lora),
        optimizer=OPTIMIZERS[optimizer],
        schedule=warmup_stable_decay(steps=4, warmup=0, decay=0.0),
        seed=3,
        recompute=recompute,
    )
    module.stop = stop
    sizes = {"rows": ROWS, "length": LENGTH, "steps": steps, "validation_steps": 1}
    batches = LongContextDataModule(documents(), seed=3, **sizes, context=context if ranks > 1 else 1)
    trainer = partial(
        L.Trainer,
        accelerator="cpu",
        devices=ranks,
        strategy=Sharded(context) if ranks > 1 else "auto",
        accumulate_grad_batches=micro,
        precision=precision,
        max_steps=steps,
        gradient_clip_val=CLIP,
        default_root_dir=folder,
    )
    progress = Throughput(lambda *told: None, rows=ROWS, length=LENGTH, peak=lambda device: None)
    settings = {"owner": CheckpointOwner(folder, name, name), "checkpoint_seconds": 1e-6, "progress": progress}
    seen = []
    callbacks = [EvaluateInLoop(2, partial(look, seen), progress)] if looks else []
    try:
        outcome = fit(module, batches, trainer, **settings, skip_nonfinite=False, logger=False, callbacks=callbacks)
    except StoppedError:
        return {"batches": global_batches(all_gather(module.batches), micro)}
    return noted(module, outcome, micro, context) | {"looks": seen}


def noted(module, outcome, micro, context):
    """Return what a training that came to its end leaves: batches, norms, losses and weights, of all ranks."""
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    losses = torch.stack(module.losses).reshape(-1, micro).mean(dim=1)
    if ranks > 1:
        dist.all_reduce(losses, op=dist.ReduceOp.SUM)
    weights = gather_state_dict(outcome.model.state_dict())
    learned = {name: full(p.detach()) for name, p in module.model.base_model.attached.method.named_parameters()}
    return {
        "batches": global_batches(all_gather(module.batches)[:: context if ranks > 1 else 1], micro),
        "norms": module.norms,
        "held": all_gather((learned, module.frequencies)),
        "losses": losses / ranks,
        "validation": outcome.validation_loss,
        "weights": weights,
        "frequencies": module.frequencies,
        "seconds": outcome.seconds,
    }


def look(seen, model, step):
    """Add the rows of evaluations of all kinds at a step, and draw some random numbers besides."""
    sizes = {"multiples": [1, 3], "windows": 2, "split": "test", "seed": 0, "batch_tokens": 128}
    of_attention = {"last": 8, "queries": 4, "layers": 1, "heads": 2, "first_tokens": [1]}
    torch.rand(step)
    for evaluation in (
        GrowingContext(last=8, **sizes),
        Attention(**of_attention, **sizes),
        Frequencies(multiples=[1, 3]),
        Streaming(multiples=[1, 3], windows=1, split="test", seed=0, chunk=40),
    ):
        seen += [
            row | {"at": row["at"] | {"step": step}}
            for unit in evaluation.work_units(documents(), 32, None)
            for row in unit.compute(model)
        ]
    ids = model.generate(torch.arange(1, 9)[None], max_new_tokens=2, do_sample=False, pad_token_id=0)
    seen.append({"metric": "length", "value": float(ids.shape[1]), "at": {"step": step}})
    return {}


def read(folder, ranks, lora=None):
    """Return a checkpoint with CLEX, in parts if there are several ranks."""
    source = HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)
    torch.manual_seed(0)
    model = attach(source.load(None, ranks), "clex", factor=4)
    return add_adapters(model, **lora, seed=3) if lora else model


def refusal(folder):
    """Return why a checkpoint is refused when two processes read it in parts, as each of them says it."""
    try:
        read(folder, 2)
    except ValueError as error:
        return all_gather(str(error))
    return all_gather("read")


def evaluated(folder, learned, ranks):
    """Return losses and a generation of a checkpoint that has `learned`, and the share of its layers that is here."""
    model = read(folder, ranks, LORA).eval()
    if ranks > 1:
        shard_layers(model, init_device_mesh("cpu", (ranks,)))
    load_trained_state_dict(model, torch.load(learned, mmap=True, weights_only=True))
    ids = torch.randint(1, 60, (2, 100), generator=torch.Generator().manual_seed(0))
    losses = [token_nll(model, ids) for _ in range(2)]
    made = model.generate(ids[:, :9], max_new_tokens=4, min_new_tokens=4, do_sample=False)
    layers = list(model.base_model.layers.parameters())
    here = sum((p.to_local() if ranks > 1 else p).numel() for p in layers) / sum(p.numel() for p in layers)
    return {"losses": losses, "generated": made, "here": here}


def first_step(folder, ranks, lora=None):
    """Return weights and gradients of a checkpoint with CLEX, whole, and what was on no device at first."""
    rank = int(os.environ["LOCAL_RANK"]) if ranks > 1 else 0
    model = read(folder, ranks, lora).train()
    unread = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if ranks > 1:
        shard(model, init_device_mesh("cpu", (ranks,)))
        register_chunked_loss(model)
    ids = torch.randint(1, 60, (2, 100), generator=torch.Generator().manual_seed(0))
    next_token_loss(model, ids[rank::ranks], placement_seed=1).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {
        "weights": gather_state_dict(model.state_dict()),
        "gradients": gather_state_dict(gradients),
        "unread": unread,
    }


def two_processes(jobs, folder):
    """Call every function of `jobs` with its arguments and options in two processes; return what rank 0 returned."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(one.getsockname()[1]), "WORLD_SIZE": "2"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["lightning", "lcx_lightning.training.fit", "lcx_lightning.runner.grid"]
    )  # once for both
    answers = folder / "answers.pt"
    started = [context.Process(target=_do_all, args=(rank, place, jobs, answers)) for rank in range(2)]
    for process in started:
        process.start()
    wait([process.sentinel for process in started], timeout=TIMEOUT)
    broken = any(process.exitcode for process in started)  # the other would wait for it
    for process in started:
        process.join(timeout=0 if broken else TIMEOUT)
        process.kill()
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    return torch.load(answers, weights_only=False)


def _do_all(rank, place, jobs, answers):
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    made = []
    for function, arguments, options in jobs:
        os.environ |= place  # Lightning takes them away at the end of each
        made.append(function(*arguments, **options))
    if rank == 0:
        torch.save(made, answers)
    dist.barrier()
