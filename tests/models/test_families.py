"""Families: what is special about each, and that every method serves every family."""

import functools

import pytest
import torch
import transformers
from packaging.version import Version
from support.pairs import pairs

from lcx_lightning.attention.rotation import half_split
from lcx_lightning.methods.library import methods
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.attach import attach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.self_check import sample_logits
from lcx_lightning.models.sources import skeleton

TOKENS = 100
IDS = torch.randint(1, 64, (2, TOKENS), generator=torch.Generator().manual_seed(0))
WINDOW = 24
WINDOWED = {  # families with native windows -> how a config asks for them
    "mistral": {"sliding_window": WINDOW},
    "mixtral": {"sliding_window": WINDOW},
    "phi3": {"sliding_window": WINDOW},
    "qwen2": {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 0},
    "smollm3": {"sliding_window": WINDOW, "use_sliding_window": True},
}


def close(actual, wanted):
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def pad_left(ids, width):
    """Return ids with padding before them, their attention mask and their positions."""
    ids, mask = (torch.nn.functional.pad(x, (width, 0)) for x in (ids, torch.ones_like(ids)))
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def read_in_steps(model, ids, mask, steps):
    """Return the logits of ids read with a cache, so many tokens at a time."""
    cache, logits, start = None, [], 0
    for step in steps:
        out = model(
            ids[:, start : start + step],
            attention_mask=mask[:, : start + step],
            past_key_values=cache,
            use_cache=True,
        )
        cache, start = out.past_key_values, start + step
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


@functools.cache
def kept(extended, family):
    """Return a tiny model, made once, with a base that a method which raises it can raise."""
    return extended("pretrained", family, rope_theta=10_000.0)


# The stock model


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_pretrained_method_reads_with_a_cache_and_padding_as_the_stock_model(tiny, extended, family):
    ids, mask, position_ids = pad_left(IDS[:, :40], 3)
    stock = tiny(family)(ids, attention_mask=mask, position_ids=position_ids).logits
    close(read_in_steps(extended("pretrained", family), ids, mask, [20, 1, 1, 21])[:, 3:], stock[:, 3:])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_generate_is_that_of_the_stock_model(tiny, extended, family):
    ids, mask, _ = pad_left(IDS[:, :20], 3)
    options = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    wanted, ours = (
        model.generate(ids, attention_mask=mask, **options) for model in (tiny(family), extended("pretrained", family))
    )
    assert torch.equal(ours.sequences, wanted.sequences)
    for x, y in zip(ours.logits, wanted.logits, strict=True):
        close(x, y)


# Every method in every family


@pytest.mark.parametrize(("family", "name"), pairs(list(FAMILIES), methods()))
def test_every_method_runs_forward_backward_and_generate_in_every_family(extended, build, family, name):
    model, ids = kept(extended, family), IDS[:, :40]
    model.base_model.attached.method = build(name, rope_spec(model.config))
    model.train().zero_grad()
    model(ids, labels=ids, use_cache=False, placement_seed=1).loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    generated = model.eval().generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
    assert generated.shape == (2, 42)


# Interleaved pairs


def test_half_split_brings_the_features_that_turn_together_half_a_head_apart():
    x = torch.arange(10.0).expand(1, 1, 1, -1)
    assert half_split(x, 4).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7, 8, 9]


# Native windows


@pytest.mark.parametrize("family", WINDOWED)
@torch.no_grad()
def test_native_windows_are_those_of_the_stock_model(tiny, extended, family):
    ids, mask, position_ids = pad_left(IDS, 5)
    stock = tiny(family, **WINDOWED[family])(ids, attention_mask=mask, position_ids=position_ids).logits[:, 5:]
    model = extended("pretrained", family, **WINDOWED[family])
    close(model(IDS).logits, stock)
    close(model(ids, attention_mask=mask).logits[:, 5:], stock)
    assert not torch.allclose(extended("pretrained", family)(IDS).logits, stock, atol=1e-2)


@pytest.mark.parametrize(("family", "name"), pairs(list(WINDOWED), ["pretrained", "lm_infinite", "yarn"], meets=1))
@torch.no_grad()
def test_a_sliding_cache_holds_what_the_layers_with_a_window_see(extended, family, name):
    model = extended(name, family, **WINDOWED[family])
    wanted = model(IDS).logits
    ids, mask, _ = pad_left(IDS, 5)
    close(read_in_steps(model, IDS, torch.ones_like(IDS), [40, *[1] * 10, 30, 20]), wanted)
    close(read_in_steps(model, ids, mask, [40, *[1] * 10, 30, 25])[:, 5:], wanted)


@pytest.mark.parametrize("window", [16, 48])
@torch.no_grad()
def test_a_pattern_and_a_native_window_see_what_both_see(tiny, extended, window):
    distance = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)[None, :]
    causal = (distance >= 0) & ((distance < 32) | (torch.arange(TOKENS) < 10))  # LM-Infinite's mask, at L = 32
    seen = (causal & (distance < window)).expand(2, 1, -1, -1)
    stock = tiny("mistral")(IDS, attention_mask=torch.where(seen, 0.0, torch.finfo(torch.float32).min)).logits
    close(extended("lambda_only", "mistral", sliding_window=window)(IDS).logits, stock)


@torch.no_grad()
def test_a_fingerprint_shows_no_more_than_a_native_window_lets_through(build):
    from lcx_lightning.methods.fingerprint import fingerprint

    def sights(name, window):
        return fingerprint(build(name, RopeSpec(16, 10_000.0, 32, window=window)), [100], None)

    assert sights("lm_infinite", 32) == sights("pretrained", 32)
    assert sights("lm_infinite", 33) != sights("pretrained", 33)
    assert sights("pi", 32) != sights("pretrained", 32)


# Layers without rotary embedding


@torch.no_grad()
def test_layers_without_rotary_embedding_do_not_care_for_positions_but_for_the_pattern(tiny, extended):
    none = {"no_rope_layers": [0, 0]}
    stock = tiny("smollm3", **none)
    for name in ("yarn", "clex"):
        close(extended(name, "smollm3", **none)(IDS).logits, stock(IDS).logits)
    distance = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)[None, :]
    seen = ((distance >= 0) & ((distance < 32) | (torch.arange(TOKENS) < 10))).expand(2, 1, -1, -1)
    masked = stock(IDS, attention_mask=torch.where(seen, 0.0, torch.finfo(torch.float32).min)).logits
    assert not torch.allclose(masked, stock(IDS).logits, atol=1e-2)
    close(extended("lm_infinite", "smollm3", **none)(IDS).logits, masked)


# Peculiarities


def test_activations_are_recomputed_with_the_rope_of_their_own_pass(extended):
    """Also where attention takes it from an attribute, and another pass comes in between."""
    gradients = []
    for checkpointing in (False, True):
        model = extended("clex", "stablelm").train()
        if checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        first, second = (
            model(IDS, labels=IDS, use_cache=False, placement_seed=placement_seed).loss for placement_seed in (1, 2)
        )
        first.backward()
        second.backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        close(recomputed, plain)


def test_nothing_is_left_on_a_module_after_a_pass(extended):
    model = extended("pi", "stablelm")
    model(IDS[:, :8])
    assert not any("forward_pass" in vars(module) for module in model.modules())


@torch.no_grad()
def test_phi_3_starts_its_cache_anew_where_longrope_would_and_goes_on_the_same(extended):
    if Version(transformers.__version__) < Version("5.20"):
        pytest.skip("transformers itself goes on from one token there in 5.17: its phi3 forgets what it had read")
    model = extended("lm_infinite", "phi3", original_max_position_embeddings=44)
    whole = IDS[:, :40]
    for _ in range(8):
        whole = torch.cat([whole, model(whole, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    ids = IDS[:, :40]
    generated = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert torch.equal(generated, whole)


# The check of logits


@pytest.mark.parametrize(
    ("family", "dtype"), pairs(["cohere", "llama", "mixtral", "smollm3"], [torch.float32, torch.bfloat16], meets=1)
)
def test_a_model_with_another_rotation_than_its_config_says_is_refused(tiny, build, family, dtype):
    model = tiny(family).to(dtype)
    attach(model, build("lm_infinite", rope_spec(model.config)))
    model = tiny(family).to(dtype)
    model.base_model.rotary_emb.inv_freq *= 0.5
    with pytest.raises(ValueError, match=f"The logits of this {family} change under the method pretrained"):
        attach(model, build("lm_infinite", rope_spec(model.config)))


def test_an_unsupported_family_is_refused_when_a_method_is_attached(tiny, build, spec):
    with pytest.raises(ValueError, match="'gemma2' are not supported"):
        attach(tiny("gemma2"), build("pi", spec))


def test_the_probe_changes_nothing(tiny):
    model = tiny("phi", embd_pdrop=0.5).train()
    model.model.layers[0].eval()
    state = torch.get_rng_state()
    assert sample_logits(model).shape == (32, 64)
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.training for layer in model.model.layers] == [False, True]
    assert all(p.grad is None for p in model.parameters())


def test_weights_that_are_not_here_are_not_asked(tiny, build, spec):
    assert sample_logits(skeleton(tiny().config)) is None
    attach(skeleton(tiny().config), build("pi", spec))
    empty = tiny()
    torch.nn.init.constant_(empty.model.norm.weight, float("nan"))
    assert sample_logits(empty) is None
    attach(empty, build("pi", spec))
