"""The LightningModule: next-token training of a Hugging Face model with a method attached."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lcx_lightning.distributed.fsdp import shard
from lcx_lightning.distributed.state_dicts import frozen_names
from lcx_lightning.models.attached import method_of
from lcx_lightning.models.context_parallel import split_texts
from lcx_lightning.training.loss import next_token_loss, register_chunked_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LongContextModule(L.LightningModule):
    """Next-token training of a model that uses a method.

    Args:
        load: Function that returns the model with its method attached; called once, when the Trainer sets up.
        optimizer: Function that returns the optimizer for a model.
        schedule: Function from optimizer step to the factor of the learning rates.
        seed: Seed that decides, together with the optimizer step, the placement of sampled positions.
        recompute: Whether layers recompute their activations in the backward pass, to save memory.
    """

    def __init__(
        self,
        load: Callable[[], "PreTrainedModel"],
        *,
        optimizer: Callable[["PreTrainedModel"], Optimizer],
        schedule: Callable[[int], float],
        seed: int,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self._load, self._optimizer, self._schedule, self._seed = load, optimizer, schedule, seed
        self._recompute = recompute
        self.model: PreTrainedModel | None = None

    def configure_model(self) -> None:
        """Load the model, and shard it if there is a mesh of processes, unless an earlier fit has done so."""
        if self.model is not None:
            return
        self.model = _train_without_dropout(self._load())
        if self._recompute:  # the method was renamed in transformers 5.18
            enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        if self.device_mesh is not None:
            split_texts(self.model, self.device_mesh["tensor_parallel"])
            shard(self.model, init_device_mesh(self.device_mesh.device_type, (self.device_mesh.size(),)))
            register_chunked_loss(self.model)

    def forward(self, input_ids: Int[Tensor, "rows tokens"], **kwargs: Any) -> Float[Tensor, "rows tokens vocabulary"]:
        """Return the logits."""
        assert self.model is not None
        return self.model(input_ids=input_ids, use_cache=False, **kwargs).logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of this rank's rows in nats per token.

        All ranks and micro-batches of a step have the same placement seed, and each row its number in the step, so
        that the positions of a row do not depend on them. They have the same number of tokens, so that the mean of
        their gradients is the gradient of the mean over all tokens.
        """
        assert self.model is not None
        loss = next_token_loss(self.model, **_given(batch), placement_seed=seed_of_step(self._seed, self.global_step))
        self.log("train/loss", loss, sync_dist=True)
        groups = self.trainer.optimizers[0].param_groups
        self.log_dict({f"train/lr/{group['name']}": group["lr"] for group in groups if "name" in group})
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Log the mean loss in nats per token, with positions as in evaluation."""
        assert self.model is not None
        loss = next_token_loss(self.model, **_given(batch))
        self.log("validation/loss", loss, batch_size=len(batch["input_ids"]), sync_dist=True)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state without frozen weights, which are loaded with the model."""
        frozen = frozen_names(self)
        return {name: x for name, x in super().state_dict(*args, **kwargs).items() if name not in frozen}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` returned; frozen weights keep their values."""
        names = frozen_names(self)
        frozen = {name: x for name, x in super().state_dict().items() if name in names}
        return super().load_state_dict(frozen | dict(state_dict), strict, assign)

    def placement(self, step: int, length: int) -> tuple[int, float | None]:
        """Return the placement seed of an optimizer step, and the sampled factor for `length` tokens, or None."""
        assert self.model is not None
        placement_seed, method = seed_of_step(self._seed, step), method_of(self.model)
        if not method.positions.samples:
            return placement_seed, None
        place = method.positions.place(torch.tensor([length]), method.scaling.spec.pretrain_length, placement_seed)
        return placement_seed, float(place.factor[0])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, and its schedule with one update for each optimizer step."""
        assert self.model is not None
        optimizer = self._optimizer(self.model)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._schedule), "interval": "step"},
        }


def _train_without_dropout(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the model in training mode, which recomputation requires, but with dropout off.

    Dropout would depend on the number of processes, and would not repeat after an interruption.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return model


def _given(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch as arguments of the loss: ids, numbers of the rows, and segments of documents if there are any."""
    return {"ids" if name == "input_ids" else name: x for name, x in batch.items()}


def seed_of_step(seed: int, step: int) -> int:
    """Return the seed of the training placement of one optimizer step."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
