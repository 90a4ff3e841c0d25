"""States whose tensors are divided among processes: made whole, and taken apart again."""

from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map


def whole(state: Any) -> Any:
    """Return a state with all its tensors whole and in main memory; on ranks but the first None for divided ones.

    All processes take part.
    """

    def gathered(x: Any) -> Any:
        if not isinstance(x, DTensor):
            return x.cpu() if isinstance(x, Tensor) else x
        full = x.full_tensor()
        return full.cpu() if dist.get_rank() == 0 else None

    return tree_map(gathered, state)


def part_of(whole: Tensor, like: Any) -> Tensor:
    """Return this process's part of a whole tensor that every process has, divided as `like`; all if that is whole."""
    if not isinstance(like, DTensor):
        return whole
    cut = distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
    own = cut.to_local().clone()  # not a view of the whole
    return DTensor.from_local(own, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())


def load_parts(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an optimizer's whole state that belong to its parameters: a hook of `load_state_dict`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def part(x: Any, like: Tensor) -> Any:
        return part_of(x, like) if isinstance(x, Tensor) and x.ndim and x.shape == like.shape else x

    state = {
        index: {name: part(x, parameters[index]) for name, x in moments.items()}
        for index, moments in state_dict["state"].items()
    }
    return state_dict | {"state": state}
