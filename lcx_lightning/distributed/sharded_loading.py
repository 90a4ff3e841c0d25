"""Checkpoints that several processes read together: each holds its part of every parameter, and never the whole."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

PARTS = "parts"  # attribute of a model on the meta device


def load_in_parts(name: str | Path, ranks: int, **given: Any) -> PreTrainedModel:
    """Return a model without weights, on the meta device, with this process's parts of them beside it.

    All `ranks` processes call this. The library divides a model in its own way, of which only the parts are kept.
    """
    read = AutoModelForCausalLM.from_pretrained(name, distributed_config=DistributedConfig(fsdp_size=ranks), **given)
    config = copy.deepcopy(read.config)
    config.distributed_config = None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=read.dtype)
    for path, buffer in read.named_buffers():
        owner, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(owner), leaf, buffer)
    vars(model)[PARTS] = {path: parameter.detach() for path, parameter in read.named_parameters(remove_duplicate=False)}
    return model


def take_parts(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Give a model that was divided over a mesh the parts that were read with it, if it was.

    What is not divided in it is made whole, on every process. All of them call this.
    """
    parts: dict[str, DTensor] = vars(model).pop(PARTS, {})  # of parameters, detached
    held = model.state_dict()

    def part(name: str, p: DTensor) -> Tensor:
        if not isinstance(held[name], DTensor):
            return p.full_tensor()
        return DTensor.from_local(p.to_local(), mesh, p.placements, shape=p.shape, stride=p.stride())

    own = {name: part(name, p) for name, p in parts.items()}
    if own:
        model.load_state_dict(own, strict=False, assign=True)  # the method has its weights
        model.tie_weights()
