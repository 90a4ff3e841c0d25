"""Parity: how far our methods are from transformers' own scalings, in every family: `python -m experiments.parity`."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from omegaconf import OmegaConf
from rich import box
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lcx_lightning.methods.library import build_method, methods, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.results.report.command import screen

TOLERANCE = 1e-4  # float32
L, FACTOR, TOKENS = 32, 4, 100
SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "logit_scale": 1.0,  # Cohere
    "num_local_experts": 4,  # Mixtral
    "no_rope_layers": [1, 0],  # SmolLM3
    "sliding_window": 40,  # families that have one
    "use_sliding_window": True,
    "max_window_layers": 1,
    "initializer_range": 0.1,  # at the usual 0.02 attention is nearly flat, and no logit would show a wrong rotation
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
ORIGINAL = {"factor": float(FACTOR), "original_max_position_embeddings": L}
# method -> what transformers calls it, and the max_position_embeddings it wants, for a number of rotary pairs
STOCK: dict[str, Callable[[int], tuple[dict[str, Any], int]]] = {
    "pretrained": lambda _: ({}, L),
    "pi": lambda _: ({"rope_type": "linear", "factor": float(FACTOR)}, L),
    "dynamic_ntk": lambda _: ({"rope_type": "dynamic", "factor": 1.0}, L),  # n / L at factor 1 only
    "yarn": lambda _: ({"rope_type": "yarn", **ORIGINAL}, FACTOR * L),
    "llama3": lambda _: (
        {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL},
        FACTOR * L,
    ),
    "longrope": lambda pairs: (  # our lists where none are given: those of NTK-aware scaling beyond L
        {
            "rope_type": "longrope",
            "short_factor": [1.0] * pairs,
            "long_factor": [FACTOR ** (i / (pairs - 1)) for i in range(pairs)],
            **ORIGINAL,
        },
        FACTOR * L,
    ),
}
LONGROPE_ONLY = ("phi3",)  # families whose config takes no other scaling


def main() -> int:
    """Print the largest difference of a logit for every family and method. Exit status: 1 if one is above 1e-4."""
    columns = [name for name in STOCK if name in methods()]
    table = Table("family", *columns, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.title = f"Largest difference of a logit from transformers\n{TOKENS} tokens, L = {L}, factor {FACTOR}, float32"
    table.caption = f"-: the config takes no such scaling\n!: more than {TOLERANCE:g}"
    rows = {family: [error(family, name) for name in columns] for family in FAMILIES}
    for family, errors in rows.items():
        table.add_row(family, *map(_cell, errors))
    screen().print(table)
    return int(any(found is not None and not found <= TOLERANCE for errors in rows.values() for found in errors))


@torch.no_grad()
def error(family: str, method: str) -> float | None:
    """Return the largest difference between the logits of a tiny model with our method and with transformers' own.

    None if the family's config takes no such scaling.
    """
    if family in LONGROPE_ONLY and method not in ("pretrained", "longrope"):
        return None
    ours = _model(family, {}, L)
    spec = rope_spec(ours.config)
    stock = _model(family, *STOCK[method](spec.dim // 2))
    config = OmegaConf.create({"factor": FACTOR, "pretrain_length": L, "method": read_method(method)})
    attach(ours, build_method(config.method, spec))
    ids = torch.randint(1, SIZES["vocab_size"], (2, TOKENS), generator=torch.Generator().manual_seed(0))
    return float((ours(ids, use_cache=False).logits - stock(ids, use_cache=False).logits).abs().max())


def _model(family: str, scaling: dict[str, Any], length: int) -> PreTrainedModel:
    """Return a tiny random model of a family, the same weights at every call."""
    torch.manual_seed(0)
    plain = AutoConfig.for_model(family).rope_parameters | {"rope_theta": 10_000.0}
    sizes = {"max_position_embeddings": length, "original_max_position_embeddings": L}
    config = AutoConfig.for_model(family, **SIZES, **sizes, rope_parameters=plain | scaling)
    return AutoModelForCausalLM.from_config(config).eval()


def _cell(found: float | None) -> str:
    if found is None:
        return "-"
    return f"{found:.1e}" if found <= TOLERANCE else f"{found:.1e} !"


if __name__ == "__main__":
    sys.exit(main())
