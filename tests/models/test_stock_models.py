"""Methods against the models of transformers: that which changes nothing, and those that transformers has."""

import pytest
import torch
from omegaconf import OmegaConf
from support.cache_inputs import IDS, TOKENS, close
from support.chunked_reading import pad

from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.rope_spec import rope_spec

RELEASED = {"rerope", "leaky_rerope", "self_extend", "clex_self_extend"}
SHORT_WINDOWS = RELEASED | {"rerope_without_log_n", "leaky_rerope_without_log_n"}  # a quarter of the pretraining length


# The pretrained model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_pretrained_method_is_the_stock_model(tiny, extended, family):
    close(extended("pretrained", family)(IDS).logits, tiny(family)(IDS).logits)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_pretrained_method_pads_as_the_stock_model(tiny, extended, family):
    ids, mask = pad(IDS, 5, 0)
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    ours = extended("pretrained", family)(ids, attention_mask=mask).logits
    close(ours[:, 5:], tiny(family)(ids, attention_mask=mask, position_ids=position_ids).logits[:, 5:])


@torch.no_grad()
def test_every_method_that_does_not_scale_a_context_of_pretraining_is_the_stock_model_there(tiny, extended, any_method):
    model = extended(any_method)
    method = model.base_model.attached.method
    rope = method.rope(torch.ones(1, 32, dtype=torch.bool), 32)
    scaled = not torch.allclose(rope.inv_freq[0], method.scaling.spec.inv_freq()) or rope.feature_scale != 1
    scaled |= any_method in SHORT_WINDOWS
    gap = (model(IDS[:, :32]).logits - tiny()(IDS[:, :32]).logits).abs().max()
    assert gap > 0.1 if scaled else gap < 1e-4  # CLEX's frequencies are exact to 1e-6


@torch.no_grad()
def test_every_method_but_pretrained_changes_a_context_longer_than_pretraining(tiny, extended, any_method):
    gap = (extended(any_method)(IDS).logits - tiny()(IDS).logits).abs().max()
    assert gap < 1e-5 if any_method == "pretrained" else gap > 0.1


# Other libraries

OF_32 = {"original_max_position_embeddings": 32}
PART = {"llama": 1.0, "gpt_neox": 0.5}  # of the features of a head that are rotated


@pytest.mark.parametrize("family", PART)
@pytest.mark.parametrize(
    ("name", "rope", "length"),
    [
        ("pi", {"rope_type": "linear", "factor": 4.0}, 32),
        ("yarn", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        ("dynamic_ntk", {"rope_type": "dynamic", "factor": 1.0}, 32),  # transformers' is n / L at factor 1 only
        (
            "llama3",
            {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | OF_32,
            128,
        ),
        ("longrope", {"rope_type": "longrope", "factor": 4.0} | OF_32, 128),
        ("abf", {"rope_type": "default", "rope_theta": 500_000.0}, 32),
    ],
)
@torch.no_grad()
def test_a_method_that_transformers_has_gives_its_logits_at_short_and_long_lengths(
    tiny, extended, name, rope, length, family
):
    plain = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": PART[family]}
    pairs = int(8 * PART[family])
    if name == "longrope":  # the lists that stand in where none are given: those of NTK-aware scaling
        ntk = [4 ** (2 * i / (2 * pairs - 2)) for i in range(pairs)]
        rope = rope | {"short_factor": [1.0] * pairs, "long_factor": ntk}
    stock = tiny(family, max_position_embeddings=length, rope_parameters=plain | rope)
    model = extended(name, family, rope_parameters=plain)
    for tokens in (20, TOKENS):
        close(model(IDS[:, :tokens]).logits, stock(IDS[:, :tokens]).logits)


@pytest.mark.parametrize("family", PART)
@torch.no_grad()
def test_longrope_gives_the_logits_of_a_checkpoint_with_its_lists(tiny, family):
    plain = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": PART[family]}
    pairs = int(8 * PART[family])
    short, long = [1 + 0.1 * i for i in range(pairs)], [1.3 * 1.5**i for i in range(pairs)]
    rope = {"rope_type": "longrope", "factor": 6.0, "short_factor": short, "long_factor": long} | OF_32
    stock = tiny(family, max_position_embeddings=192, rope_parameters=plain | rope)
    model = tiny(family, rope_parameters=plain)
    method = read_method("longrope")
    method.scaling.short, method.scaling.long = short, long
    sizes = OmegaConf.create({"factor": 6, "pretrain_length": 32, "method": method})
    attach(model, build_method(sizes.method, rope_spec(model.config)))
    for tokens in (20, 32, 33, TOKENS):
        close(model(IDS[:, :tokens]).logits, stock(IDS[:, :tokens]).logits)


@torch.no_grad()
def test_dynamic_yarn_is_yarn_at_the_factor_of_the_length(tiny, extended):
    model = extended("dynamic_yarn")
    for tokens in (48, TOKENS):
        rope = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": tokens / 32} | OF_32
        stock = tiny(max_position_embeddings=tokens, rope_parameters=rope)
        close(model(IDS[:, :tokens]).logits, stock(IDS[:, :tokens]).logits)
