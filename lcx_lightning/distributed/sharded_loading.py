"""Load a checkpoint in shards: several processes read it together, and none holds a whole parameter."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

SHARDS = "shards"  # attribute of a model on the meta device: the shards of its weights that this process has read


def load_sharded(name: str | Path, ranks: int, **given: Any) -> PreTrainedModel:
    """Return a model on the meta device, with this process's shards of its weights in an attribute.

    All `ranks` processes call this together. transformers shards a model in its own way, of which we keep the shards
    only.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        ranks: Number of processes.
        given: Further arguments of `from_pretrained`.
    """
    read = AutoModelForCausalLM.from_pretrained(name, distributed_config=DistributedConfig(fsdp_size=ranks), **given)
    config = copy.deepcopy(read.config)
    config.distributed_config = None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=read.dtype)
    for path, buffer in read.named_buffers():
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, buffer)
    vars(model)[SHARDS] = {
        path: parameter.detach() for path, parameter in read.named_parameters(remove_duplicate=False)
    }
    return model


def load_shards(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Load the shards that were read with a model, if any, into its parameters, after they were sharded over a mesh.

    Parameters that are not sharded in the model are made whole, on every process. All processes call this together.
    """
    shards: dict[str, DTensor] = vars(model).pop(SHARDS, {})  # detached parameters, by name
    current = model.state_dict()

    def weight(name: str, p: DTensor) -> Tensor:
        if not isinstance(current[name], DTensor):
            return p.full_tensor()
        return DTensor.from_local(p.to_local(), mesh, p.placements, shape=p.shape, stride=p.stride())

    weights = {name: weight(name, p) for name, p in shards.items()}
    if weights:
        model.load_state_dict(weights, strict=False, assign=True)  # the method already has its weights
        model.tie_weights()
