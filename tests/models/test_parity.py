"""Our methods and the scalings that transformers has itself give the same logits, in every family."""

import pytest
import torch
from omegaconf import OmegaConf
from support.tiny_models import TINY
from transformers import AutoConfig, AutoModelForCausalLM

from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.rope_spec import rope_spec

L, FACTOR, TOKENS = 32, 4, 100
SIZES = TINY | {
    "head_dim": 16,
    "logit_scale": 1.0,  # Cohere
    "num_local_experts": 4,  # Mixtral
    "no_rope_layers": [1, 0],  # SmolLM3
    "sliding_window": 40,  # families that have one
    "use_sliding_window": True,
    "max_window_layers": 1,
}
ORIGINAL = {"factor": float(FACTOR), "original_max_position_embeddings": L}
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}
# method -> what transformers calls it, and the max_position_embeddings it wants, for a number of rotary pairs
STOCK = {
    "pretrained": lambda _: ({}, L),
    "pi": lambda _: ({"rope_type": "linear", "factor": float(FACTOR)}, L),
    "dynamic_ntk": lambda _: ({"rope_type": "dynamic", "factor": 1.0}, L),  # n / L at factor 1 only
    "yarn": lambda _: ({"rope_type": "yarn", **ORIGINAL}, FACTOR * L),
    "llama3": lambda _: (LLAMA3, FACTOR * L),
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
LONGROPE_ONLY = {"phi3"}  # families whose config takes no other scaling
PLAIN_OR_LONGROPE = {"pretrained", "longrope"}
OFFERED = [(f, name) for f in FAMILIES for name in STOCK if f not in LONGROPE_ONLY or name in PLAIN_OR_LONGROPE]


def of_family(family, scaling, length):
    """Return a tiny random model of a family, the same weights at every call."""
    torch.manual_seed(0)
    plain = AutoConfig.for_model(family).rope_parameters | {"rope_theta": 10_000.0}
    sizes = {"max_position_embeddings": length, "original_max_position_embeddings": L}
    config = AutoConfig.for_model(family, **(SIZES | sizes), rope_parameters=plain | scaling)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(("family", "method"), OFFERED)
@torch.no_grad()
def test_a_method_that_transformers_has_gives_its_logits_in_every_family(family, method):
    ours = of_family(family, {}, L)
    spec = rope_spec(ours.config)
    stock = of_family(family, *STOCK[method](spec.dim // 2))
    config = OmegaConf.create({"factor": FACTOR, "pretrain_length": L, "method": read_method(method)})
    attach(ours, build_method(config.method, spec))
    ids = torch.randint(1, SIZES["vocab_size"], (2, TOKENS), generator=torch.Generator().manual_seed(0))
    gap = (ours(ids, use_cache=False).logits - stock(ids, use_cache=False).logits).abs().max()
    assert gap < 1e-5
