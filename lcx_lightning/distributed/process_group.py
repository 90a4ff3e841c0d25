"""The processes of one arm: rank zero decides, writes and reports, and all compute."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

T = TypeVar("T")


PATIENCE = timedelta(days=30)  # for what another run is making; a process that dies is noticed at once by the runner


@dataclass(frozen=True)
class Place:
    """Where the processes of a job find each other."""

    ranks: int
    address: str = "127.0.0.1"
    port: int = 0
    node: int = 0  # index of this machine among those of the job
    local_ranks: int = 1  # processes on each machine
    name: str = ""  # of the job, in a store that the runner keeps; empty: the first process opens one of its own


def join(trainer: dict[str, Any], place: Place, local_rank: int) -> None:
    """Make this process one of those of a job; where there is one alone, Lightning does what is needed."""
    os.environ |= {"NODE_RANK": str(place.node), "LOCAL_RANK": str(local_rank), "WORLD_SIZE": str(place.ranks)}
    os.environ |= {"MASTER_ADDR": place.address, "MASTER_PORT": str(place.port)}
    if place.ranks == 1:
        return
    here = place.node * place.local_ranks + local_rank
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
