"""What torchrun says to the processes that it starts: the first of each machine runs the command, the others end."""

import os

from omegaconf import DictConfig, OmegaConf


def started() -> bool:
    """Return whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def leads() -> bool:
    """Return whether this process is the one of its machine that runs the command."""
    return not started() or os.environ["LOCAL_RANK"] == "0"


def command() -> list[str]:
    """Return the words of the command line before those of the experiment."""
    if not started():
        return ["python"]
    nodes = ["--nnodes", os.environ["GROUP_WORLD_SIZE"]] if os.environ["GROUP_WORLD_SIZE"] != "1" else []
    return ["torchrun", *nodes, "--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]]


def settings(config: DictConfig) -> dict[str, int]:
    """Return the settings of the trainer that torchrun has decided.

    Raises:
        ValueError: If the configuration says otherwise.
    """
    if not started():
        return {}
    said = {"devices": int(os.environ["LOCAL_WORLD_SIZE"]), "num_nodes": int(os.environ["GROUP_WORLD_SIZE"])}
    options = {"devices": "--nproc-per-node", "num_nodes": "--nnodes"}
    for name, value in said.items():
        given = None if OmegaConf.is_missing(config.trainer, name) else config.trainer.get(name)
        if given not in (None, value):
            raise ValueError(
                f"torchrun was started with {options[name]} {value}, but trainer.{name}={given}: let both say the "
                "same, or leave it out with trainer=fsdp."
            )
    return said
