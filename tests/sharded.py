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
from books import CORPUS_ONLY, Books
from learning import RATES, load
from torch.optim import SGD, AdamW

from lcx_lightning import head
from lcx_lightning.data.corpus import SPLITS
from lcx_lightning.data.module import LongContextDataModule
from lcx_lightning.data.source import LongContextData
from lcx_lightning.data.tokens import ByteTokens
from lcx_lightning.training.fit import fit
from lcx_lightning.training.module import LongContextModule
from lcx_lightning.training.optimizer import MuonAdamW
from lcx_lightning.training.parts import whole
from lcx_lightning.training.schedule import warmup_stable_decay
from lcx_lightning.training.sharding import Sharded

STEPS, ROWS, LENGTH = 4, 4, 64
TIMEOUT = 120  # seconds, of all trainings of one launch
OPTIMIZERS = {
    "sgd": lambda model: SGD(model.parameters(), lr=1.0),
    "adamw": lambda model: AdamW(model.parameters(), lr=0.003),
    "muon": partial(MuonAdamW, **RATES),
}


class StoppedError(Exception):
    """An interruption."""


class Watched(LongContextModule):
    """A module that notes its losses and frequencies, and may stop before a step."""

    stop = None

    def configure_model(self):
        super().configure_model()
        self.losses, self.frequencies = [], []
        scaling = self.model.base_model.method.scaling
        scaling.register_forward_hook(lambda module, given, out: self.frequencies.append((given[0], out.detach())))

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop:
            raise StoppedError
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        return loss


def documents():
    texts = {split: [f"{split} {i} for x in y: z += {i}\n" * 60 for i in range(3)] for split in SPLITS}
    return LongContextData(Books(**texts), ByteTokens(), CORPUS_ONLY)


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
):
    """Train and return losses, frequencies and weights; stop before a step, a checkpoint at every one, for None."""
    ranks = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    torch.manual_seed(0)
    head.LOGITS = 7 * 257 if chunked else 2**25
    module = Watched(
        partial(load, name),
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
        gradient_clip_val=1.0,
        default_root_dir=folder,
    )
    report = lambda *told: None  # noqa: E731
    settings = {"tokens": 1, "folder": folder, "checkpoint_seconds": 1e-6, "report": report, "logger": False}
    try:
        outcome = fit(module, batches, trainer, **settings)
    except StoppedError:
        return None
    losses = torch.stack(module.losses).reshape(-1, micro).mean(dim=1)
    if ranks > 1:
        dist.all_reduce(losses, op=dist.ReduceOp.SUM)
    weights = whole(outcome.model.state_dict())
    return {
        "losses": losses / ranks,
        "validation": outcome.validation_loss,
        "weights": weights,
        "frequencies": module.frequencies,
    }


def two_processes(trainings, folder):
    """Run `train` with each of the arguments in two processes, one after the other, and return what rank 0 returned."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(one.getsockname()[1]), "WORLD_SIZE": "2"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sharded"])
    answers = folder / "answers.pt"
    started = [context.Process(target=_train_all, args=(rank, place, trainings, answers)) for rank in range(2)]
    for process in started:
        process.start()
    wait([process.sentinel for process in started], timeout=TIMEOUT)  # the first that ends may leave the other waiting
    for process in started:
        process.join(timeout=5)
        process.kill()
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    return torch.load(answers, weights_only=False)


def _train_all(rank, place, trainings, answers):
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    made = []
    for arguments, options in trainings:
        os.environ |= place  # Lightning takes them away at the end of each
        made.append(train(*arguments, **options))
    if rank == 0:
        torch.save(made, answers)
    dist.barrier()
