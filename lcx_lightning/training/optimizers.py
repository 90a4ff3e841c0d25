"""Optimizers over three groups: hidden matrices, the rest of the model, and the method's own parameters."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon, Optimizer

from lcx_lightning.distributed.state_dicts import load_parts, local_shard_like

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def parameter_groups(model: "PreTrainedModel") -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters: `matrices` between features, `rest` (embeddings, head, norms), `method`."""
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


def adamw(
    model: "PreTrainedModel", *, lr: float, method_lr: float, betas: tuple[float, float], weight_decay: float
) -> Optimizer:
    """Return AdamW over the whole model (arXiv:1711.05101), as the three papers use it.

    Args:
        model: With its method attached.
        lr: Learning rate of the model.
        method_lr: Learning rate of the method's own parameters.
        betas: Decay of the two moments.
        weight_decay: Of the model's parameters; the method has none.
    """
    groups = parameter_groups(model)
    own = [{"params": groups["method"], "lr": method_lr, "weight_decay": 0.0}] if groups["method"] else []
    params = groups["matrices"] + groups["rest"]
    optimizer = AdamW([{"params": params}, *own], lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay)
    optimizer.register_load_state_dict_pre_hook(load_parts)
    return optimizer


class DividedMuon(Muon):
    """Muon for matrices in parts: every process makes the whole update of a matrix, and keeps its part.

    An update is orthogonal as a whole, not in parts. The state is that of Muon, in parts.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update all matrices; without weight decay."""
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
    """Return what a step of Muon with this update, momentum in it, adds to a matrix."""
    step = nn.Parameter(torch.zeros_like(update))
    step.grad = update
    Muon([step], lr=lr, weight_decay=0.0, momentum=0.0, nesterov=False).step()
    return step.detach()


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest: it pretrains small models in fewer steps.

    Args:
        model: With its method attached.
        matrix_lr: Learning rate of the hidden matrices, whose updates are orthogonal.
        lr: Learning rate of the rest of the model.
        method_lr: Learning rate of the method's own parameters.
        betas: Decay of AdamW's two moments.
    """

    def __init__(
        self, model: "PreTrainedModel", *, matrix_lr: float, lr: float, method_lr: float, betas: tuple[float, float]
    ) -> None:
        groups = parameter_groups(model)
        own = [{"params": groups["method"], "lr": method_lr}] if groups["method"] else []
        divided = any(isinstance(p, DTensor) for p in groups["matrices"])
        self.muon = (DividedMuon if divided else Muon)(groups["matrices"], lr=matrix_lr, weight_decay=0.0)
        self.adamw = AdamW([{"params": groups["rest"]}, *own], lr=lr, betas=(betas[0], betas[1]), weight_decay=0.0)
        for part in (self.muon, self.adamw):
            part.register_load_state_dict_pre_hook(load_parts)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        return [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all groups, and return the loss of `closure`."""
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
        self.param_groups = self._groups()  # loading makes new ones
