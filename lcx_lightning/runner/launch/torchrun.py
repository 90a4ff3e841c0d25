"""The command under torchrun: what torchrun has decided, and processes other than the first print nothing."""

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from lcx_lightning.runner.trainer_config import TrainerSettings


PATIENCE = 20.0  # seconds within which rank 0 has refused bad input


def started() -> bool:
    """Return whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def leads() -> bool:
    """Return whether this process plans, writes and reports: it is the only one, or rank 0 of those of torchrun."""
    return not started() or os.environ["RANK"] == "0"


def follow_rank_zero() -> None:
    """Print nothing from now on, not even from libraries in C++, and leave Ctrl-C to rank 0."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def leave_the_word_to_rank_zero() -> None:
    """Wait, in all processes but rank 0, until it has refused bad input: torchrun ends all when the first one ends."""
    if not leads():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(PATIENCE)


def command() -> list[str]:
    """Return the words of the command line before those of the experiment."""
    if not started():
        return ["python"]
    nodes = ["--nnodes", os.environ["GROUP_WORLD_SIZE"]] if os.environ["GROUP_WORLD_SIZE"] != "1" else []
    return ["torchrun", *nodes, "--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]]


def decided(config: DictConfig, line: list[str]) -> list[str]:
    """Return overrides with those that torchrun has decided, which are also set in the configuration.

    Raises:
        ValueError: If the configuration says otherwise.
    """
    if not started():
        return line
    settings = {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "num_nodes": int(os.environ["GROUP_WORLD_SIZE"])}
    options = {"devices": "--nproc-per-node", "num_nodes": "--nnodes"}
    for name, value in settings.items():
        given = None if OmegaConf.is_missing(config.trainer, name) else config.trainer.get(name)
        if given not in (None, value):
            raise ValueError(
                f"torchrun was started with {options[name]} {value}, but trainer.{name}={given}: let both say the "
                "same, or leave it out with trainer=fsdp."
            )
        OmegaConf.update(config, f"trainer.{name}", value, force_add=True)
    return [*line, *(f"++trainer.{name}={value}" for name, value in settings.items())]


def check_launch(trainers: "list[TrainerSettings]", remote: bool) -> None:
    """Raise a ValueError if arms cannot be launched from this process.

    Args:
        trainers: Trainer of every arm.
        remote: Whether the launcher starts jobs elsewhere.
    """
    if started() and remote:
        raise ValueError("launch=slurm queues jobs that start their own processes: start the command without torchrun.")
    nodes = max(trainer.num_nodes for trainer in trainers)
    if nodes > 1 and not started() and not remote:
        raise ValueError(
            f"trainer.num_nodes={nodes} needs a process on every machine: start the command under torchrun --nnodes "
            f"{nodes} (docs/slurm.sbatch does), or queue it with launch=slurm."
        )
