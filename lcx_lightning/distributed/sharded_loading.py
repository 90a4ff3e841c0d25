"""Load a checkpoint in shards: several processes read it together, and none holds a whole parameter."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

SHARDS = "shards"  # attribute of a model on the meta device: the shards of its weights that this process has read


def load_sharded(load: Callable[..., PreTrainedModel], ranks: int) -> PreTrainedModel:
    """Return a model on the meta device, with this process's shards of its weights in an attribute.

    All `ranks` processes call this together. transformers shards a model in its own way, of which we keep the shards
    only.

    Args:
        load: Function that loads the model, and takes further arguments of `from_pretrained`.
        ranks: Number of processes.
    """
    read = load(distributed_config=DistributedConfig(fsdp_size=ranks))
    config = copy.deepcopy(read.config)
    config.distributed_config = None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=read.dtype, trust_remote_code=False)
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

    Raises:
        RuntimeError: If a parameter has no weights afterwards.
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
        without = [name for name, parameter in model.named_parameters() if parameter.is_meta]
        if without:
            raise RuntimeError(f"No shard was read of {', '.join(without[:3])}: {len(without)} parameters in all.")
