"""The processes of one arm: rank 0 decides, writes and reports, and all compute."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")


PATIENCE = timedelta(days=30)  # while another run makes a stage; the death of a process is noticed at once
MEETING = timedelta(minutes=10)  # from the start of the first process to that of the last


@dataclass(frozen=True)
class Rendezvous:
    """Where the processes of a job meet, and which of them this one is: what torchrun puts into the environment."""

    rank: int = 0  # among all processes of the job
    world_size: int = 1
    local_rank: int = 0  # among those of this machine
    node: int = 0  # index of this machine
    address: str = "127.0.0.1"  # of the machine of rank 0
    port: int = 0  # of the store that rank 0 opens

    def export(self) -> None:
        """Put it into the environment, where torch and Lightning look for it."""
        os.environ |= {"RANK": str(self.rank), "WORLD_SIZE": str(self.world_size), "LOCAL_RANK": str(self.local_rank)}
        os.environ |= {"NODE_RANK": str(self.node), "MASTER_ADDR": self.address, "MASTER_PORT": str(self.port)}


def alone() -> Rendezvous:
    """Return the rendezvous of a job with one process."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return Rendezvous(port=one.getsockname()[1])


def join(accelerator: str) -> Store | None:
    """Join the process group that the environment describes, and return its store.

    Of a group of one nothing is made here, because Lightning does what is needed, and None is returned.

    Args:
        accelerator: Accelerator of the trainer, by Lightning's name. Collectives of tensors on a GPU use NCCL.

    Raises:
        RuntimeError: If a process of the group has not come within ten minutes.
    """
    if os.environ["WORLD_SIZE"] == "1":
        return None
    backend = "gloo"
    if accelerator in ("gpu", "cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    shared, here, count = next(iter(rendezvous("env://", timeout=MEETING)))
    start = shared.add(f"starts of rank {here}", 1)  # torchrun keeps the store when it starts processes again
    store = PrefixStore(f"start {start}", shared)
    everyone = [f"rank {number} is here" for number in range(count)]
    store.set(everyone[here], "")
    store.wait(everyone, MEETING)
    dist.init_process_group(backend, store=PrefixStore("group", store), rank=here, world_size=count, timeout=PATIENCE)
    return store


def rank() -> int:
    """Return the number of this process among those of the arm."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes of the arm."""
    return dist.get_world_size() if dist.is_initialized() else 1


def broadcast_from_rank_zero(value: T) -> T:
    """Return the value that rank zero has; the others wait for it."""
    if world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, device=torch.device("cpu"))
    return held[0]


def decided_by_rank_zero(decide: Callable[[], T]) -> T:
    """Return what a function returns in rank zero, which alone calls it; what it raises there, all processes raise."""
    if world_size() == 1:
        return decide()
    decided: list[Any] = [None, None]  # the decision, and what was raised
    if rank() == 0:
        try:
            decided[0] = decide()
        except Exception as error:
            decided[1] = error
    decision, raised = broadcast_from_rank_zero(decided)
    if raised is not None:
        raise raised
    return decision


def barrier() -> None:
    """Wait until every process of the arm has come here."""
    broadcast_from_rank_zero(None)


def all_gather(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    if world_size() == 1:
        return [value]
    held: list[Any] = [None] * world_size()
    dist.all_gather_object(held, value)
    return held


def row_groups(processes: int, context: int) -> int:
    """Return how many groups of `context` processes there are, each of which shares its rows.

    Raises:
        ValueError: If the processes cannot be divided so.
    """
    if context < 1 or processes % context:
        raise ValueError(
            f"{processes} processes cannot share rows by {context}: take a number of processes that trainer.strategy."
            "context divides, or context=1."
        )
    return processes // context
