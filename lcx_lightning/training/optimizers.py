"""Optimizers over three groups of parameters: hidden matrices, the rest of the model, and those of the method."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float
from pydantic import AfterValidator, NonNegativeFloat
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon, Optimizer

from lcx_lightning.distributed.state_dicts import local_shard_like, shard_optimizer_state
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Momentum = Annotated[float, Ge(0), Lt(1), AfterValidator(float)]
"""Decay rate of a moment of the gradient. A float also if it is 0: torch refuses an int beside a float."""


def parameter_groups(model: "PreTrainedModel") -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters in three groups: `matrices`, `rest` (embeddings, head, norms) and `method`."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    outer = {id(p) for module in ends if module is not None for p in module.parameters()}
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "rest": [], "method": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".method." in name:
            groups["method"].append(parameter)
        elif parameter.ndim == 2 and id(parameter) not in outer:
            groups["matrices"].append(parameter)
        else:
            groups["rest"].append(parameter)
    return groups


@checked
def adamw(
    model: "PreTrainedModel",
    *,
    lr: NonNegativeFloat,
    method_lr: NonNegativeFloat,
    betas: tuple[Momentum, Momentum],
    weight_decay: NonNegativeFloat,
) -> Optimizer:
    """Return AdamW over the whole model (arXiv:1711.05101).

    Args:
        model: Model with its method attached.
        lr: Learning rate of the model's parameters.
        method_lr: Learning rate of the method's parameters.
        betas: Decay rates of the two moments.
        weight_decay: Weight decay of the model's parameters; those of the method have none.
    """
    groups = parameter_groups(model)
    method = {"params": groups["method"], "lr": method_lr, "weight_decay": 0.0, "name": "method"}
    weights = {"params": groups["matrices"] + groups["rest"], "name": "weights"}
    optimizer = AdamW(
        [weights, *([method] if groups["method"] else [])], lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay
    )
    optimizer.register_load_state_dict_pre_hook(shard_optimizer_state)
    return optimizer


class ShardedMuon(Muon):
    """Muon for sharded matrices: every process computes the update of the whole matrix, and keeps its shard.

    This is necessary because the whole update is orthogonalized, not its shards. The state is that of Muon, sharded.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update all matrices, without weight decay."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(parameter.grad))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"]).full_tensor()
                parameter.add_(local_shard_like(_orthogonal_step(update, group["lr"]), parameter))


def _orthogonal_step(update: Float[Tensor, "rows columns"], lr: float) -> Float[Tensor, "rows columns"]:
    """Return the change of a matrix in a step of Muon with this update, which includes momentum."""
    step = nn.Parameter(torch.zeros_like(update))
    step.grad = update
    Muon([step], lr=lr, weight_decay=0.0, momentum=0.0, nesterov=False).step()
    return step.detach()


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest: small models need fewer pretraining steps.

    Args:
        model: Model with its method attached.
        matrix_lr: Learning rate of the hidden matrices, whose updates are orthogonalized.
        lr: Learning rate of the rest of the model.
        method_lr: Learning rate of the method's parameters.
        betas: Decay rates of the two moments of AdamW.
    """

    @checked
    def __init__(
        self,
        model: "PreTrainedModel",
        *,
        matrix_lr: NonNegativeFloat,
        lr: NonNegativeFloat,
        method_lr: NonNegativeFloat,
        betas: tuple[Momentum, Momentum],
    ) -> None:
        groups = parameter_groups(model)
        method = [{"params": groups["method"], "lr": method_lr, "name": "method"}] if groups["method"] else []
        sharded = any(isinstance(p, DTensor) for p in groups["matrices"])
        hidden, rest = {"params": groups["matrices"], "name": "matrices"}, {"params": groups["rest"], "name": "weights"}
        self.muon = (ShardedMuon if sharded else Muon)([hidden], lr=matrix_lr, weight_decay=0.0)
        self.adamw = AdamW([rest, *method], lr=lr, betas=(betas[0], betas[1]), weight_decay=0.0)
        for optimizer in (self.muon, self.adamw):
            optimizer.register_load_state_dict_pre_hook(shard_optimizer_state)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all groups, and return the loss of `closure`, or None without one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both optimizers."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = self._groups()  # loading replaces them
