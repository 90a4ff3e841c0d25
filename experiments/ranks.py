"""The processes of one arm: the first decides, writes and reports, and all compute."""

import os
import socket
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

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


def evaluates_in_shards(trainer: dict[str, Any]) -> bool:
    """Return whether the processes of this arm share one model in evaluation, and so all read the same texts."""
    return ranks() > 1 and trainer.get("strategy", {}).get("shard_evaluation", False)


def seat(trainer: dict[str, Any]) -> dict[str, str]:
    """Return the environment in which all processes of an arm on this machine find each other.

    On several machines NODE_RANK, MASTER_ADDR and MASTER_PORT are those of the environment, one command on each.
    """
    ranks = process_count(trainer) * trainer.get("num_nodes", 1)
    found = {name: os.environ[name] for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name in os.environ}
    return {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "WORLD_SIZE": str(ranks)} | found


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def join(trainer: dict[str, Any], place: dict[str, str], local_rank: int) -> None:
    """Make this process one of those of an arm; where there is one alone, Lightning does what is needed."""
    os.environ |= place | {"LOCAL_RANK": str(local_rank)}
    ranks = int(place["WORLD_SIZE"])
    if ranks == 1:
        return
    here = int(place["NODE_RANK"]) * process_count(trainer) + local_rank
    backend = "gloo"
    if trainer["accelerator"] in ("gpu", "cuda"):
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, rank=here, world_size=ranks, timeout=PATIENCE)


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
