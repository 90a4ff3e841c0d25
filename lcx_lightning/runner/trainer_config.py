"""The trainer of an arm, read once: what the rest of the program goes by, and Lightning's Trainer made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from lcx_lightning.distributed import process_group
from lcx_lightning.runner.quiet import silence_library_logging
from lcx_lightning.schema.build import build
from lcx_lightning.schema.checked import checked_arguments

if TYPE_CHECKING:
    import lightning as L
    import torch

LAYOUT = ("accelerator", "devices", "num_nodes", "accumulate_grad_batches", "strategy", "precision")
OURS = (  # arguments of Lightning's Trainer that the program sets
    "max_steps",
    "max_epochs",
    "gradient_clip_val",
    "default_root_dir",
    "callbacks",
    "plugins",
    "logger",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "use_distributed_sampler",
    "enable_checkpointing",
    "enable_progress_bar",
    "enable_model_summary",
)
TORCH_DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}  # accelerator -> torch's name


def _values(
    *,
    accelerator: str,
    devices: PositiveInt,
    num_nodes: PositiveInt = 1,
    accumulate_grad_batches: PositiveInt = 1,
    precision: str | int = "32-true",
    strategy: Mapping[str, Any] | None = None,
    **_more: Any,
) -> None:
    """What the program itself reads of a trainer's configuration; the rest are arguments of Lightning's Trainer."""


@dataclass(frozen=True)
class TrainerSettings:
    """The values of a trainer's configuration.

    Args:
        accelerator: Kind of device, as Lightning names it.
        devices: Processes on each machine, one for each device.
        num_nodes: Machines.
        micro_batches: Parts of an optimizer step that a process computes one after the other.
        precision: Precision, as Lightning names it.
        context: Processes that share every row in training.
        shard_evaluation: Whether the processes of the arm share one model in evaluation too.
        arguments: Arguments of Lightning's Trainer, those above included.
    """

    accelerator: str
    devices: int
    num_nodes: int
    micro_batches: int
    precision: str
    context: int
    shard_evaluation: bool
    arguments: Mapping[str, Any]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "TrainerSettings":
        """Return the settings of a configuration.

        Raises:
            ValueError: If a value is not allowed, or the program sets it itself.
        """
        if taken := sorted(set(config) & set(OURS)):
            raise ValueError(
                f"trainer.{taken[0]} would change nothing, because the program sets it: see training.steps, "
                "training.clip, checkpoint_seconds and logger."
            )
        values = checked_arguments(_values, config, "trainer")
        strategy = values.get("strategy") or {}
        return cls(
            accelerator=values["accelerator"],
            devices=values["devices"],
            num_nodes=values.get("num_nodes", 1),
            micro_batches=values.get("accumulate_grad_batches", 1),
            precision=str(values.get("precision", "32-true")),
            context=strategy.get("context", 1),
            shard_evaluation=strategy.get("shard_evaluation", False),
            arguments=config,
        )

    @property
    def numerics(self) -> dict[str, Any]:
        """What changes the numbers of training: all but the layout of its processes."""
        return {"precision": self.precision} | {k: v for k, v in self.arguments.items() if k not in LAYOUT}

    @property
    def processes(self) -> int:
        """Processes of the arm, over all machines."""
        return self.devices * self.num_nodes

    @property
    def device_type(self) -> str | None:
        """Type of device as torch names it, None if it is not known before the trainer exists."""
        return TORCH_DEVICES.get(self.accelerator)

    @property
    def evaluates_in_shards(self) -> bool:
        """Whether the processes that run now share one model in evaluation, and so all read the same texts."""
        return process_group.world_size() > 1 and self.shard_evaluation

    def row_groups(self) -> int:
        """Return how many groups of `context` processes there are, each of which shares its rows.

        Raises:
            ValueError: If the processes cannot be divided so.
        """
        return process_group.row_groups(self.processes, self.context)

    def trainer(self, **given: Any) -> "L.Trainer":
        """Return Lightning's Trainer, `given` in the place of arguments of the configuration."""
        import lightning  # seconds: not where nothing is trained

        silence_library_logging()  # importing Lightning sets its level anew

        strategy = self.arguments.get("strategy")
        built = {} if strategy is None else {"strategy": build(dict(strategy), "trainer.strategy")}
        return lightning.Trainer(**{**self.arguments, **built, **given})

    def idle_trainer(self) -> "L.Trainer":
        """Return a trainer that trains nothing, to see what this machine has for it."""
        from lightning.fabric.plugins.environments.lightning import LightningEnvironment

        plain = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 1}
        return self.trainer(plugins=[LightningEnvironment()], **plain)

    def device(self) -> "torch.device":
        """Return the device of this process, on which an arm is trained and evaluated."""
        return self.idle_trainer().strategy.root_device
