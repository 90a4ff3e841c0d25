"""Fully sharded training (FSDP2, arXiv:2304.11277): every process holds its part of weights, gradients and moments."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from lcx_lightning.distributed.process_group import row_groups
from lcx_lightning.distributed.sharded_loading import take_parts
from lcx_lightning.distributed.state_dicts import gather_state_dict, local_shard_like

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sharded(ModelParallelStrategy):
    """All processes in one mesh, one alone too, of which every `context` that follow each other share their rows.

    A checkpoint is one file that does not tell how many processes wrote it: rank 0 gathers the state in main memory,
    tensor by tensor, and every process reads its part of the file. Any number of processes goes on from it.

    Args:
        context: Processes that share every row, for texts beyond the memory of one device (`context_parallel`).
        shard_evaluation: Whether a model that is evaluated after training is divided too (`shard_layers`).

    Raises:
        ValueError: In `setup_environment`, if the processes cannot be shared out so.
    """

    def __init__(self, context: int = 1, shard_evaluation: bool = False) -> None:
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
        held, saved = self.model.state_dict(), checkpoint["state_dict"]
        self.model.load_state_dict(
            {name: local_shard_like(x, held.get(name)) for name, x in saved.items()}, strict=strict
        )

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)


def shard(model: "PreTrainedModel", mesh: DeviceMesh) -> None:
    """Divide the parameters of a model with a method among the processes of a mesh, layer by layer.

    Those of a learned scaling are a group of their own: float32 whatever the model is, and whole around its call.
    """
    scaling, layers = (model.base_model.get_submodule(name) for name in ("attached.method.scaling", "layers"))
    learned = [scaling] if any(True for _ in scaling.parameters()) else []
    for module in (*learned, *layers.children(), model):
        fully_shard(module, mesh=mesh)
    take_parts(model, mesh)


def shard_layers(model: "PreTrainedModel", mesh: DeviceMesh) -> None:
    """Divide the layers of a model that is evaluated among the processes of a mesh, each gathered while it computes.

    Embeddings, head and method stay whole, so that an evaluation may ask for hidden states, logits, caches and
    generations as of any model. Every process must make the same passes at the same time.
    """
    divided = [
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        for layer in model.base_model.get_submodule("layers").children()
    ]
    take_parts(model, mesh)
    for layer in divided:  # what is gathered into is made now: made in inference mode, it could not be used outside
        layer.unshard()
        layer.reshard()
