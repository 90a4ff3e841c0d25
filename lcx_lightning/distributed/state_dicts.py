"""States of models and optimizers: divided among processes, made whole, and without what training leaves alone."""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map


def gather_state_dict(state: Any) -> Any:
    """Return a state with all its tensors whole and in main memory; on ranks but the first None for divided ones.

    All processes take part.
    """

    def gathered(x: Any) -> Any:
        if not isinstance(x, DTensor):
            return x.cpu() if isinstance(x, Tensor) else x
        full = x.full_tensor()
        return full.cpu() if dist.get_rank() == 0 else None

    return tree_map(gathered, state)


def local_shard_like(gather_state_dict: Tensor, like: Any) -> Tensor:
    """Return this process's part of a whole tensor that every process has, divided as `like`; all if that is whole."""
    if not isinstance(like, DTensor):
        return gather_state_dict
    cut = distribute_tensor(gather_state_dict, like.device_mesh, like.placements, src_data_rank=None)
    own = cut.to_local().clone()  # not a view of the whole
    return DTensor.from_local(own, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())


def load_parts(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an optimizer's whole state that belong to its parameters: a hook of `load_state_dict`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def part(x: Any, like: Tensor) -> Any:
        return local_shard_like(x, like) if isinstance(x, Tensor) and x.ndim and x.shape == like.shape else x

    state = {
        index: {name: part(x, parameters[index]) for name, x in moments.items()}
        for index, moments in state_dict["state"].items()
    }
    return state_dict | {"state": state}


def frozen(model: nn.Module) -> set[str]:
    """Return the names of the weights that training leaves as they are; those of the method are none of them."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad and ".method." not in name}


def learned(model: nn.Module) -> dict[str, Any]:
    """Return the state of a model without its frozen weights: those are the base's, which is kept already."""
    known = frozen(model)
    return {name: x for name, x in model.state_dict().items() if name not in known}


def load_learned(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Give a model what another one like it has learned; in parts, if it is divided.

    Raises:
        RuntimeError: If that is not what this model learns.
    """
    held = model.state_dict()
    kept = {name: held[name] for name in frozen(model)}
    model.load_state_dict(kept | {name: local_shard_like(x, held.get(name)) for name, x in saved.items()})
