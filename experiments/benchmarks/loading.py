"""A checkpoint of the hub's format that two processes read in parts, against one that reads it whole."""

import os
import socket
import tempfile
from collections.abc import Callable

import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from experiments.benchmarks.measure import Comparison, Options, peak_bytes, peaks_together, smaller
from experiments.benchmarks.models import llama
from lcx_lightning.distributed.fsdp import shard
from lcx_lightning.models.attach import attach
from lcx_lightning.models.sources import HubModel
from lcx_lightning.runner.quiet import silence_library_logging

LAYERS, HEADS = 12, 16  # 160 million parameters
RANKS = 2
WHOLE, PARTS = "one process, whole", f"each of {RANKS} processes, its part"


def run(options: Options) -> list[Comparison]:
    """Compare the most memory of a process that loads a model of bfloat16 in float32, as training does, with CLEX."""
    with tempfile.TemporaryDirectory() as folder:
        layers, heads = (1, 4) if options.quick else (LAYERS, HEADS)
        llama(layers, heads, "cpu").bfloat16().save_pretrained(f"{folder}/measured")
        llama(1, 2, "cpu").bfloat16().save_pretrained(f"{folder}/small")
        port = _free_port()
        parts = peaks_together(loads, [(folder, RANKS, rank, port) for rank in range(RANKS)])
        peaks = {WHOLE: peak_bytes(loads, folder, 1, 0, port), PARTS: max(parts)}
    return [smaller(PARTS, WHOLE, peaks, 0.6)]


def loads(folder: str, ranks: int, rank: int, port: int) -> Callable[[], object]:
    """Return what loads a checkpoint as training does, after one load of a small model: libraries are imported then."""
    silence_library_logging()
    if ranks > 1:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank}
        os.environ |= {name: str(value) for name, value in place.items()}
        dist.init_process_group("gloo", rank=rank, world_size=ranks)
    kept = []

    def load(name: str) -> None:
        source = HubModel(name=name, revision="main", dtype="float32", own_scaling=True)
        model = attach(source.load(None, ranks), "clex", factor=4)
        if ranks > 1:
            shard(model, init_device_mesh("cpu", (ranks,)))
        kept.append(model)

    load(f"{folder}/small")
    kept.clear()
    return lambda: load(f"{folder}/measured")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
