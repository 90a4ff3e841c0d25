"""Fully sharded training (FSDP2, arXiv:2304.11277): every rank holds a shard of weights, gradients and moments."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from pydantic import PositiveInt
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from lcx_lightning.distributed.process_group import row_groups
from lcx_lightning.distributed.sharded_loading import load_shards
from lcx_lightning.distributed.state_dicts import gather_state_dict, local_shard_like
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sharded(ModelParallelStrategy):
    """The strategy of sharded training: one mesh of all ranks, in which groups of `context` ranks share their rows.

    It also works with a single rank. A checkpoint is one file that does not depend on the number of ranks: rank 0
    gathers the state in main memory, tensor by tensor, and every rank reads its shard from the file. Any number of
    ranks can resume from it.

    Args:
        context: Number of consecutive ranks that share every row, for texts beyond the memory of one device
            (`lcx_lightning.models.context_parallel`).
        shard_evaluation: Whether a model that is evaluated after training is sharded too (`shard_layers`).

    Raises:
        ValueError: In `setup_environment`, if `context` does not divide the number of ranks.
    """

    @checked
    def __init__(self, context: PositiveInt = 1, shard_evaluation: bool = False) -> None:
        super().__init__(tensor_parallel_size=context, save_distributed_checkpoint=False)
        self.context, self.shard_evaluation = context, shard_evaluation

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def setup_environment(self) -> None:
        self._data_parallel_size = row_groups(self.num_nodes * self.num_processes, self.context)
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.model is not None
        return gather_state_dict(self.model.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return gather_state_dict(plain.state_dict())

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.model is not None
        current, saved = self.model.state_dict(), checkpoint["state_dict"]
        self.model.load_state_dict(
            {name: local_shard_like(x, current.get(name)) for name, x in saved.items()}, strict=strict
        )

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)


def shard(model: "PreTrainedModel", mesh: DeviceMesh) -> None:
    """Shard the parameters of a model with a method over the ranks of a mesh, layer by layer.

    The parameters of a learned scaling form their own group: they are float32 at any precision of the model, and are
    gathered around the call of the scaling.
    """
    scaling, layers = (model.base_model.get_submodule(name) for name in ("attached.method.scaling", "layers"))
    learned = [scaling] if any(True for _ in scaling.parameters()) else []
    for module in (*learned, *layers.children(), model):
        fully_shard(module, mesh=mesh)
    load_shards(model, mesh)


def shard_layers(model: "PreTrainedModel", mesh: DeviceMesh) -> None:
    """Shard the layers of a model for evaluation over the ranks of a mesh; each layer is gathered while it computes.

    Embeddings, head and method stay whole, so that hidden states, logits, caches and generation work as in any model.
    All ranks must make the same passes at the same time.
    """
    sharded = [
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        for layer in model.base_model.get_submodule("layers").children()
    ]
    load_shards(model, mesh)
    for layer in sharded:  # allocate the buffers now: allocated in inference mode, they could not be used outside it
        layer.unshard()
        layer.reshard()
