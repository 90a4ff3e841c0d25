"""Low-rank adapters (LoRA, arXiv:2106.09685), added in place by peft: the model keeps its class."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from lcx_lightning.distributed.sharded_loading import SHARDS
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "default"  # name of the adapters in peft


@checked
def add_adapters(
    model: "PreTrainedModel",
    *,
    rank: PositiveInt,
    alpha: PositiveFloat,
    targets: str | Sequence[str],
    in_full: Sequence[Literal["embeddings", "norms"]],
    seed: int,
) -> "PreTrainedModel":
    """Return `model` with adapters added to its linear layers, and everything else but the method frozen.

    A weight W [out, in] becomes W + alpha / rank * B A. A [rank, in] has the initial distribution of peft, sampled from
    `seed` alone, and B [out, rank] is zero, so that nothing changes before training. Both are float32. There is no
    dropout, because it would depend on the number of processes, and would not repeat after an interruption.

    Args:
        model: Model with its method attached. It is changed in place.
        rank: Rank of the adapters.
        alpha: Scale of the adapters, whose product is multiplied by alpha / rank.
        targets: Layers to adapt: "attention" for the linear layers of attention, "linear" for those of the MLP as well,
            or their names.
        in_full: Parts that are trained in full, from "embeddings" and "norms"; LongLoRA needs both (arXiv:2309.12307).
        seed: Seed for sampling A.

    Raises:
        ValueError: If peft is missing, a value is unknown or out of range, or parts to be trained in full are not
            float32.
    """
    peft, names, method = _peft(), _target_names(model, targets), _method_parameters(model)
    full = _in_full(model, in_full)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0, bias="none")
    peft.inject_adapter_in_model(config, model, adapter_name=NAME, low_cpu_mem_usage=True)
    _draw(model, seed)
    for parameter in (*method, *full):
        parameter.requires_grad_(True)
    _rename_shards(model, names)
    return model.train(model.training)


def merge_adapters(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return `model` with its adapters merged into its weights and removed, and all of its parameters trainable."""
    adapted: list[tuple[str, Any]] = [(name, m) for name, m in model.named_modules() if _is_adapted(m)]
    for name, module in adapted:
        module.merge()
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module.get_base_layer())
    vars(model).pop("peft_config", None)
    for name, parameter in model.named_parameters():
        if ".method." not in name:
            parameter.requires_grad_(True)
    return model


def adapter_parameters(model: nn.Module) -> int:
    """Return the number of adapter parameters in a model."""
    return sum(p.numel() for name, p in model.named_parameters() if ".lora_A." in name or ".lora_B." in name)


def _peft() -> Any:
    try:
        import peft  # optional, and takes a second to import
    except ModuleNotFoundError as error:
        raise ValueError("Adapters need peft: pip install 'lcx-lightning[lora]', or leave them out.") from error
    return peft


def _target_names(model: "PreTrainedModel", targets: str | Sequence[str]) -> list[str]:
    """Return the full names of the linear layers that get adapters."""
    inside = {id(module) for module in model.base_model.get_submodule("layers").modules()}
    linear = [n for n, module in model.named_modules() if isinstance(module, nn.Linear) and id(module) in inside]
    leaves = {name.rpartition(".")[2] for name in linear}
    if targets == "linear":
        return linear
    if targets == "attention":
        return [name for name in linear if "attn" in name or ".attention." in name]
    wanted = set() if isinstance(targets, str) else set(targets)
    if not wanted or not wanted <= leaves:
        raise ValueError(
            f"targets of adapters are attention, linear, or names of linear layers of this {model.config.model_type}, "
            f"which are {', '.join(sorted(leaves))}; got {targets!r}."
        )
    return [name for name in linear if name.rpartition(".")[2] in wanted]


def _method_parameters(model: "PreTrainedModel") -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if ".method." in name and p.requires_grad]


def _in_full(model: "PreTrainedModel", parts: Sequence[str]) -> list[nn.Parameter]:
    """Return the parameters of the parts that are trained in full."""
    embeddings = [*model.get_input_embeddings().parameters()] if "embeddings" in parts else []
    norms = [p for m in model.modules() if "norm" in type(m).__name__.lower() for p in m.parameters(recurse=False)]
    found = embeddings + (norms if "norms" in parts else [])
    skeleton = model.device.type == "meta" and SHARDS not in vars(
        model
    )  # its dtype may differ from that of the weights
    if not skeleton and any(p.dtype != torch.float32 for p in found):
        raise ValueError(
            f"Parts that are trained in full must be float32, and this model is {model.dtype}: set "
            "model.source.dtype=float32, or in_full=[]."
        )
    return found


def _draw(model: "PreTrainedModel", seed: int) -> None:
    """Initialise the adapters on the device of the weights, or in main memory if those are not loaded yet."""
    generator = torch.Generator().manual_seed(seed)
    adapted: list[Any] = [module for module in model.modules() if _is_adapted(module)]
    for module in adapted:
        a, b = module.lora_A[NAME], module.lora_B[NAME]
        device = torch.device("cpu") if SHARDS in vars(model) else module.get_base_layer().weight.device
        drawn = nn.init.kaiming_uniform_(torch.empty(a.weight.shape), a=math.sqrt(5), generator=generator)
        a.weight, b.weight = nn.Parameter(drawn.to(device)), nn.Parameter(torch.zeros(b.weight.shape, device=device))


def _is_adapted(module: Any) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "get_base_layer")


def _rename_shards(model: "PreTrainedModel", names: list[str]) -> None:
    """Rename the loaded shards of adapted layers, whose weights are one level deeper under their adapters."""
    shards = vars(model).get(SHARDS, {})
    for name in names:
        for leaf in ("weight", "bias"):
            if f"{name}.{leaf}" in shards:
                shards[f"{name}.base_layer.{leaf}"] = shards.pop(f"{name}.{leaf}")
