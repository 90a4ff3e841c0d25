"""Load the weights of a checkpoint, all of them and no others, without running code that comes with it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM

from lcx_lightning.distributed.process_group import all_gather
from lcx_lightning.models.checkpoint_files import UNBUILDABLE, check_generation, last_line
from lcx_lightning.models.weight_files import CLEX_KEYS, RECOMPUTED, UNREADABLE, check_weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHOWN = 3  # names of weights in a message


def load_weights(name: str | Path, **given: Any) -> "PreTrainedModel":
    """Return the model of a checkpoint.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        given: Further arguments of `from_pretrained`.

    Raises:
        ValueError: If the weight files cannot be read, lack a weight of the model, have one that it has not, twice, or
            of another shape, are quantized, or hold a number that is not finite.
    """
    asked = {"trust_remote_code": False, "output_loading_info": True, "ignore_mismatched_sizes": True}
    revision = given.get("revision", "main")
    check_generation(str(name), revision)
    try:
        config = given.get("config") or AutoConfig.from_pretrained(name, trust_remote_code=False)
        files = check_weight_files(name, revision, config)
        loaded: Any = AutoModelForCausalLM.from_pretrained(name, **asked, **given)
    except UNREADABLE as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"The weights of {name} cannot be read: {what}. If a file is damaged or was cut short, copy it again. Of "
            "pickles (.bin) only tensors are read."
        ) from error
    except UNBUILDABLE as error:
        raise ValueError(f"transformers cannot build the model of {name}/config.json: {last_line(error)}.") from error
    stored = f"{name} ({shortened([file.name for file in files])})"
    model, found = loaded
    _check_names(found, stored, hasattr(model.config, "clex"))
    _check_finite(model, stored)
    return model


def shortened(names: Collection[str]) -> str:
    """Return the first names of a collection, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _check_names(found: dict[str, Any], name: str, has_clex: bool) -> None:
    """Raise a ValueError if the weights that were found are not exactly those of the model."""
    read_elsewhere = CLEX_KEYS if has_clex else ()
    unexpected = {key for key in found["unexpected_keys"] if not key.endswith(RECOMPUTED) and key not in read_elsewhere}
    shapes = {f"{key} {list(there)} for {list(expected)}" for key, there, expected in found["mismatched_keys"]}
    wrong: Sequence[tuple[str, Collection[str]]] = (
        ("lack", found["missing_keys"]),
        ("have another shape of", shapes),
        ("have, and the model has not,", unexpected),
    )
    said = [f"{what} {shortened(keys)}" for what, keys in wrong if keys]
    if said:
        raise ValueError(
            f"The weights of {name} are not those of the model in its config.json: they {'; they '.join(said)}. "
            "Nothing is filled with random numbers or left out: copy the checkpoint again, or correct config.json."
        )


def _check_finite(model: "PreTrainedModel", name: str) -> None:
    """Raise a ValueError, on every process that shares the model, if a weight is not finite."""
    local = {key: p.to_local() if isinstance(p, DTensor) else p for key, p in model.named_parameters()}
    wrong = {key for key, p in local.items() if p.is_floating_point() and not _sum(p).isfinite()}
    if any(isinstance(p, DTensor) for p in model.parameters()):
        wrong = set().union(*all_gather(wrong))
    if wrong:
        raise ValueError(
            f"The weights of {name} are not finite in {shortened(wrong)}: every number computed from them would be "
            "nan. Take a checkpoint from before its training diverged."
        )


def _sum(weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of a weight, which is finite only if every number is: one pass, and no memory of its size."""
    return weight.detach().sum(dtype=torch.promote_types(weight.dtype, torch.float32))
