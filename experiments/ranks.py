"""The processes of one arm: the first decides, writes and reports, and all compute."""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import lightning as L
import torch
import torch.distributed as dist
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # for what another run is making; a process that dies is noticed at once by the runner


def process_count(trainer: dict[str, Any]) -> int:
    """Return the number of processes that a trainer's configuration asks for on this machine.

    Raises:
        ValueError: If it gives no number of devices.
    """
    devices = trainer["devices"]
    if not isinstance(devices, int) or devices < 1:
        raise ValueError(f"trainer.devices must be a number of devices, 1 or more, got {devices!r}.")
    return devices


def context(trainer: dict[str, Any]) -> int:
    """Return the number of processes that share every row in training."""
    return trainer.get("strategy", {}).get("context", 1)


def bare_trainer(trainer: dict[str, Any]) -> L.Trainer:
    """Return a trainer that trains nothing, to see what this machine has for it."""
    plain = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 1}
    return instantiate(trainer)(plugins=[LightningEnvironment()], **plain)


def evaluates_in_shards(trainer: dict[str, Any]) -> bool:
    """Return whether the processes of this arm share one model in evaluation, and so all read the same texts."""
    return ranks() > 1 and trainer.get("strategy", {}).get("shard_evaluation", False)


@dataclass(frozen=True)
class Place:
    """Where the processes of a job find each other."""

    ranks: int
    address: str = "127.0.0.1"
    port: int = 0
    node: int = 0  # this machine among those of the job
    name: str = ""  # of the job, in a store that the runner keeps; empty: the first process opens one of its own


def seat(trainer: dict[str, Any]) -> Place:
    """Return the place of a job that has this machine to itself."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return Place(process_count(trainer), port=one.getsockname()[1])


def join(trainer: dict[str, Any], place: Place, local_rank: int) -> None:
    """Make this process one of those of a job; where there is one alone, Lightning does what is needed."""
    os.environ |= {"NODE_RANK": str(place.node), "LOCAL_RANK": str(local_rank), "WORLD_SIZE": str(place.ranks)}
    os.environ |= {"MASTER_ADDR": place.address, "MASTER_PORT": str(place.port)}
    if place.ranks == 1:
        return
    here = place.node * process_count(trainer) + local_rank
    backend = "gloo"
    if trainer["accelerator"] in ("gpu", "cuda"):
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    opens = not place.name and here == 0
    store = TCPStore(
        place.address, place.port, is_master=opens, timeout=PATIENCE, wait_for_workers=False, multi_tenant=True
    )
    named = PrefixStore(place.name or "job", store)
    dist.init_process_group(backend, store=named, rank=here, world_size=place.ranks, timeout=PATIENCE)


def rank() -> int:
    """Return the number of this process among those of the arm."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """Return the number of processes of the arm."""
    return dist.get_world_size() if dist.is_initialized() else 1


def told(value: T) -> T:
    """Return the value that the first process has; the others wait for it."""
    if ranks() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, device=torch.device("cpu"))
    return held[0]


def gathered(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    if ranks() == 1:
        return [value]
    held: list[Any] = [None] * ranks()
    dist.all_gather_object(held, value)
    return held
