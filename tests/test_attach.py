"""Every method works in every supported model family, with and without a cache, padding, checkpointing and sharding."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from lcx_lightning.attach import attach
from lcx_lightning.attention.attend import attend
from lcx_lightning.families import FAMILIES

TOKENS = 100  # three times the pretraining length of the tiny models
IDS = torch.randint(1, 64, (2, TOKENS), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def group():
    """A process group of one."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def close(actual, wanted):
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def pad(ids, left, right):
    """Return ids with padding around them, and their attention mask."""
    widths = (left, right)
    return (torch.nn.functional.pad(x, widths) for x in (ids, torch.ones_like(ids)))


def token_by_token(model, ids):
    cache, logits = None, []
    for i in range(ids.shape[1]):
        out = model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


def frequencies(model, length):
    return model.base_model.method.rope(torch.ones(1, length, dtype=torch.bool), 1).inv_freq


# The untouched model


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
    scaled = not torch.allclose(frequencies(model, 32)[0], model.base_model.method.scaling.spec.inv_freq())
    gap = (model(IDS[:, :32]).logits - tiny()(IDS[:, :32]).logits).abs().max()
    assert gap > 0.1 if scaled else gap < 1e-4  # CLEX's frequencies are exact to 1e-6


@torch.no_grad()
def test_every_method_but_pretrained_changes_a_context_longer_than_pretraining(tiny, extended, any_method):
    gap = (extended(any_method)(IDS).logits - tiny()(IDS).logits).abs().max()
    assert gap < 1e-5 if any_method == "pretrained" else gap > 0.1


# Other libraries


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize(
    ("name", "rope", "length"),
    [
        ("pi", {"rope_type": "linear", "factor": 4.0}, 32),
        ("yarn", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        ("dynamic_ntk", {"rope_type": "dynamic", "factor": 1.0}, 32),  # transformers' is n / L at factor 1 only
    ],
)
@torch.no_grad()
def test_a_method_that_transformers_has_gives_its_logits(tiny, extended, name, rope, length, family):
    rope = rope | {"rope_theta": 10_000.0, "partial_rotary_factor": {"llama": 1.0, "gpt_neox": 0.5}[family]}
    stock = tiny(family, max_position_embeddings=length, rope_parameters=rope)
    plain = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor")} | {"rope_type": "default"}
    close(extended(name, family, rope_parameters=plain)(IDS).logits, stock(IDS).logits)


# Nothing but the row itself matters


@torch.no_grad()
def test_the_result_does_not_depend_on_what_was_read_before(extended, any_method):
    model = extended(any_method)
    before = model(IDS[:, :40]).logits
    model(IDS)
    assert torch.equal(model(IDS[:, :40]).logits, before)


@pytest.mark.parametrize(("left", "right"), [(5, 0), (0, 5), (3, 4)])
@torch.no_grad()
def test_padding_changes_nothing(extended, any_method, left, right):
    model = extended(any_method)
    ids, mask = pad(IDS, left, right)
    close(model(ids, attention_mask=mask).logits[:, left : left + TOKENS], model(IDS).logits)


@torch.no_grad()
def test_a_row_does_not_depend_on_the_other_rows(extended, any_method):
    model = extended(any_method)
    for left in (0, 60):
        ids, mask = pad(IDS[:1, :40], left, 60 - left)
        ids, mask = torch.cat([ids, IDS[1:]]), torch.cat([mask, torch.ones_like(mask)])
        logits = model(ids, attention_mask=mask).logits
        close(logits[0, left : left + 40], model(IDS[:1, :40]).logits[0])
        close(logits[1], model(IDS[1:]).logits[0])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_hybrid_of_everything_works_in_every_family(extended, family):
    model = extended(["clex", "lm_infinite"], family)
    ids, mask = pad(IDS, 4, 0)
    logits = model(IDS).logits
    assert logits.isfinite().all()
    close(model(ids, attention_mask=mask).logits[:, 4:], logits)


# Caches


@torch.no_grad()
def test_reading_token_by_token_is_reading_at_once_where_no_length_changes_the_frequencies(extended, any_method):
    model = extended(any_method)
    if torch.equal(frequencies(model, 1), frequencies(model, TOKENS)):
        close(token_by_token(model, IDS), model(IDS).logits)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_cache_serves_every_family(extended, family):
    model = extended("lm_infinite", family)
    close(token_by_token(model, IDS), model(IDS).logits)


@torch.no_grad()
def test_in_one_layer_the_last_token_is_the_same_however_the_text_was_read(extended, any_method):
    model = extended(any_method, num_hidden_layers=1)
    close(token_by_token(model, IDS)[:, -1], model(IDS).logits[:, -1])


@torch.no_grad()
def test_reading_in_chunks_with_padding_is_reading_at_once(extended):
    model = extended("lm_infinite")
    ids, mask = pad(IDS, 6, 0)
    first = model(ids[:, :70], attention_mask=mask[:, :70], use_cache=True)
    second = model(ids[:, 70:], attention_mask=mask, past_key_values=first.past_key_values)
    close(torch.cat([first.logits, second.logits], dim=1)[:, 6:], model(IDS).logits)


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite", "yarn"])
@pytest.mark.parametrize("left", [0, 7])
@torch.no_grad()
def test_generate_is_greedy_reading_without_a_cache(extended, name, left):
    model, prompt = extended(name), IDS[:, :40]
    whole = prompt
    for _ in range(20):
        whole = torch.cat([whole, model(whole, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    ids, mask = pad(prompt, left, 0)
    generated = model.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False)
    assert torch.equal(generated[:, left:], whole)


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite"])
@torch.no_grad()
def test_a_cache_of_fixed_size_is_refused(extended, name):
    with pytest.raises(ValueError, match="hands out 49 keys for 40 tokens"):
        extended(name).generate(IDS[:, :40], max_new_tokens=10, do_sample=False, cache_implementation="static")


def test_a_mask_of_pairs_is_refused(extended):
    with pytest.raises(ValueError, match=r"has the shape \[2, 1, 40, 40\]"):
        extended("pi")(IDS[:, :40], attention_mask=torch.ones(2, 1, 40, 40).tril())


# Training


def checkpoint_activations(model):
    """Recompute activations in the backward pass, by the name that this version of transformers has for it."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()


SAMPLING = ["clex", "clex_blocks", ["clex", "lm_infinite"]]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SAMPLING)
def test_the_gradient_reaches_a_learned_method(extended, name, checkpointing):
    model = extended(name).train()
    if checkpointing:
        checkpoint_activations(model)
    model(IDS, labels=IDS, use_cache=False, draw=5).loss.backward()
    assert model.model.method.scaling.down.weight.grad.abs().sum() > 0


def test_activation_checkpointing_changes_no_gradient(extended):
    gradients = []
    for checkpointing in (False, True):
        model = extended(["clex", "lm_infinite"]).train()
        if checkpointing:
            checkpoint_activations(model)
        model(IDS, labels=IDS, use_cache=False, draw=5).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        close(recomputed, plain)


def test_every_trainable_weight_takes_part_in_every_pass(extended, any_method):
    model = extended(any_method).train()
    for draw in range(4):
        model.zero_grad(set_to_none=True)
        model(IDS[:, :32], labels=IDS[:, :32], draw=draw).loss.backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", SAMPLING)
def test_a_method_that_samples_is_refused_in_training_without_a_draw(extended, name):
    model = extended(name).train()
    with pytest.raises(ValueError, match="pass draw="):
        model(IDS)
    model.eval()(IDS)


@torch.no_grad()
def test_equal_draws_give_equal_losses_and_only_methods_that_sample_care(extended, any_method):
    model = extended(any_method).train()
    losses = [model(IDS, labels=IDS, draw=draw).loss.item() for draw in (3, 3, 4)]
    assert losses[0] == losses[1]
    assert (losses[0] != losses[2]) == model.model.method.positions.samples


def test_a_method_is_a_part_of_the_model(extended, any_method):
    model = extended(any_method)
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for p in model.model.method.parameters())
    model.train()
    assert model.model.method.training


def test_a_model_takes_one_method(extended, build, spec):
    with pytest.raises(ValueError, match="has a method already"):
        attach(extended("pi"), build("lm_infinite", spec))


# Precision


@torch.no_grad()
def test_a_model_in_bfloat16_stays_one_and_turns_in_float32(extended, any_method):
    wanted = extended(any_method)(IDS).logits
    model = extended(any_method).bfloat16()
    model.model.method.float()
    logits = model(IDS).logits
    assert logits.dtype == torch.bfloat16
    assert frequencies(model, TOKENS).dtype == torch.float32
    torch.testing.assert_close(logits.float(), wanted, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("name", "family"), [("yarn", "llama"), ("yarn", "stablelm"), ("clex", "llama"), ("lm_infinite", "llama")]
)
def test_sharded_mixed_precision_leaves_the_frequencies_alone(extended, name, family, monkeypatch, group):
    seen = []

    def watched(q, k, v, rope, scale):
        seen.append((q.dtype, rope.inv_freq, rope.key_tables[0].cos))
        return attend(q, k, v, rope, scale)

    model = extended(name, family)
    monkeypatch.setattr("lcx_lightning.attach.attend", watched)
    wanted = model.model.method.rope(torch.ones(1, TOKENS, dtype=torch.bool), TOKENS)
    mesh = init_device_mesh("cpu", (1,))
    if name == "clex":
        fully_shard(model.model.method.scaling, mesh=mesh)  # a group of its own, in float32
    for module in [*model.model.layers, model]:
        fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    model(IDS, labels=IDS).loss.backward()
    assert len(seen) == 2
    for dtype, inv_freq, cos in seen:
        assert dtype == torch.bfloat16
        assert torch.equal(inv_freq, wanted.inv_freq)
        assert torch.equal(cos, wanted.key_tables[0].cos)
