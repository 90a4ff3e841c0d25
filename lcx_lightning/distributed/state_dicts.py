"""State dicts of models and optimizers: gathered from shards, sharded again, and without frozen weights."""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map


def gather_state_dict(state: Any) -> Any:
    """Return a state with all tensors whole and in main memory; on ranks other than 0, None for sharded tensors.

    All processes call this together.
    """

    def gather(x: Any) -> Any:
        if not isinstance(x, DTensor):
            return x.cpu() if isinstance(x, Tensor) else x
        full = x.full_tensor()
        return full.cpu() if dist.get_rank() == 0 else None

    return tree_map(gather, state)


def local_shard_like(whole: Tensor, like: Any) -> Tensor:
    """Return this process's shard of a tensor that every process has, sharded as `like`; all of it if `like` is not."""
    if not isinstance(like, DTensor):
        return whole
    sharded = distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
    local = sharded.to_local().clone()  # a copy, so that the whole tensor can be freed
    return DTensor.from_local(local, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())


def shard_optimizer_state(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's whole state, sharded like its parameters; a pre-hook of `load_state_dict`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def shard(x: Any, like: Tensor) -> Any:
        return local_shard_like(x, like) if isinstance(x, Tensor) and x.ndim and x.shape == like.shape else x

    state = {
        index: {name: shard(x, parameters[index]) for name, x in moments.items()}
        for index, moments in state_dict["state"].items()
    }
    return state_dict | {"state": state}


def frozen_names(model: nn.Module) -> set[str]:
    """Return the names of the model's frozen weights; parameters of the method do not count as frozen."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad and ".method." not in name}


def trained_state_dict(model: nn.Module) -> dict[str, Any]:
    """Return the state dict of a model without its frozen weights, which are those of its base."""
    frozen = frozen_names(model)
    return {name: x for name, x in model.state_dict().items() if name not in frozen}


def load_trained_state_dict(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Load what `trained_state_dict` returned for a model of the same kind; sharded, if this model is.

    Raises:
        RuntimeError: If the names or shapes are not those that are trained in this model.
    """
    current = model.state_dict()
    frozen = {name: current[name] for name in frozen_names(model)}
    model.load_state_dict(frozen | {name: local_shard_like(x, current.get(name)) for name, x in saved.items()})
