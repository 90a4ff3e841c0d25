"""Every method works in every supported model family, with and without a cache, padding, checkpointing and sharding."""

import pytest
import torch
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from lcx_lightning.attachment import attach
from lcx_lightning.attention.attend import attend
from lcx_lightning.configs import build_method, read_method
from lcx_lightning.families import FAMILIES
from lcx_lightning.models import rope_spec

TOKENS = 100  # three times the pretraining length of the tiny models
IDS = torch.randint(1, 64, (2, TOKENS), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def group():
    """A process group of one."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


SHORT_WINDOWS = {"rerope", "leaky_rerope", "self_extend", "clex_self_extend"}  # a quarter of the pretraining length
CHUNKS_MATTER = {"lm_infinite_top_k"}  # by definition: the last query of a pass chooses what it sees besides


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


def in_chunks(model, ids, ends, mask=None):
    """Return the logits of a text that is read in chunks, into one cache."""
    cache, logits, start = None, [], 0
    for end in ends:
        seen = None if mask is None else mask[:, :end]
        out = model(ids[:, start:end], attention_mask=seen, past_key_values=cache, use_cache=True)
        cache, start = out.past_key_values, end
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


def is_static(model, length):
    """Return whether no length up to `length` changes the frequencies."""
    return torch.equal(frequencies(model, 1), frequencies(model, length))


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
    method = model.base_model.method
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
def test_the_size_of_a_batch_changes_nothing(extended, any_method):
    model = extended(any_method)
    rows = torch.cat([IDS, IDS.flip(0), IDS[:1]])
    together = model(rows).logits
    for row, logits in zip(rows, together, strict=True):
        close(logits, model(row[None]).logits[0])


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
    if any_method not in CHUNKS_MATTER and is_static(model, TOKENS):
        close(token_by_token(model, IDS), model(IDS).logits)


@pytest.mark.parametrize("left", [0, 6])
@torch.no_grad()
def test_reading_in_chunks_is_reading_at_once_where_no_length_changes_the_frequencies(extended, any_method, left):
    model = extended(any_method)
    ids, mask = pad(IDS, left, 0)
    ends = [n + left for n in (7, 40, 41, 90, TOKENS)]
    if any_method not in CHUNKS_MATTER and is_static(model, TOKENS):
        close(in_chunks(model, ids, ends, mask)[:, left:], model(IDS).logits)


@torch.no_grad()
def test_in_one_layer_the_last_chunk_is_the_same_however_the_text_was_read(extended, any_method):
    model = extended(any_method, num_hidden_layers=1)
    close(in_chunks(model, IDS, [7, 40, 60, TOKENS])[:, 60:], model(IDS).logits[:, 60:])


@torch.no_grad()
def test_rows_of_different_lengths_decode_in_one_layer_as_each_alone(extended, any_method):
    model = extended(any_method, num_hidden_layers=1)
    ids = torch.cat([IDS[:1], torch.nn.functional.pad(IDS[1:, :50], (50, 0))])
    mask = torch.cat([torch.ones(1, TOKENS), torch.arange(TOKENS)[None] >= 50]).long()
    logits = in_chunks(model, ids, [70, *range(71, TOKENS + 1)], mask)[:, -1]
    close(logits[0], model(IDS[:1]).logits[0, -1])
    close(logits[1], model(IDS[1:, :50]).logits[0, -1])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_cache_serves_every_family(extended, family):
    model = extended("lm_infinite", family)
    close(token_by_token(model, IDS), model(IDS).logits)


@torch.no_grad()
def test_in_one_layer_the_last_token_is_the_same_however_the_text_was_read(extended, any_method):
    model = extended(any_method, num_hidden_layers=1)
    close(token_by_token(model, IDS)[:, -1], model(IDS).logits[:, -1])


@pytest.mark.parametrize("name", ["lm_infinite", "limit_only", "self_extend", "leaky_rerope", "streaming_llm"])
@pytest.mark.parametrize("starts", [(0, 0), (0, 40), (6, 3)], ids=["right", "left and right", "both"])
@torch.no_grad()
def test_reading_texts_of_different_lengths_in_chunks_is_reading_each_at_once(extended, name, starts):
    model, lengths = extended(name), (100, 66)
    ids, mask = torch.zeros(2, 106, dtype=torch.int64), torch.zeros(2, 106, dtype=torch.int64)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        ids[row, start : start + length], mask[row, start : start + length] = IDS[row, :length], 1
    logits = in_chunks(model, ids, [37, 38, 39, 89, 106], mask)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        close(logits[row, start : start + length], model(IDS[row : row + 1, :length]).logits[0])


@pytest.mark.parametrize("name", ["lm_infinite", "self_extend", "streaming_llm", "lm_infinite_top_k"])
@torch.no_grad()
def test_a_prompt_padded_on_its_right_goes_on_as_one_without_padding(extended, name):
    model = extended(name)
    ids, mask = pad(IDS[:, :70], 0, 5)
    ids, mask = (torch.cat([x, more], dim=1) for x, more in ((ids, IDS[:, 70:]), (mask, torch.ones(2, 30, dtype=int))))
    padded = in_chunks(model, ids, range(75, 106), mask)
    plain = in_chunks(model, IDS, range(70, 101))
    close(torch.cat([padded[:, :70], padded[:, 75:]], dim=1), plain)


@torch.no_grad()
def test_the_last_query_of_a_prompt_and_every_one_after_it_choose_middle_tokens(extended):
    chosen, plain = (
        in_chunks(extended(name, num_hidden_layers=1), IDS, range(90, 101))
        for name in ("lm_infinite_top_k", "lm_infinite")
    )
    differs = (chosen - plain).abs().amax(dim=(0, 2)) > 1e-4
    assert differs.tolist() == [n >= 89 for n in range(TOKENS)]


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
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)({"use_reentrant": False})


SAMPLING = ["clex", "clex_blocks", ["clex", "lm_infinite"]]
PLACED_AT_RANDOM = [*SAMPLING, "pose", "random_positions"]


def moved(model):
    """Return the model, its learned scaling no longer at its start, where some gradients are zero."""
    torch.manual_seed(2)
    for weight in model.base_model.method.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    return model


def test_the_gradient_reaches_every_learned_part_and_activation_checkpointing_changes_none(extended, any_method):
    gradients = []
    for checkpointing in (False, True):
        model = moved(extended(any_method)).train()
        if checkpointing:
            checkpoint_activations(model)
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        model(IDS, labels=IDS, use_cache=False, draw=5).loss.backward()
        learned = [p for p in model.model.method.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        close(recomputed, plain)


def test_every_trainable_weight_takes_part_in_every_pass(extended, any_method):
    model = extended(any_method).train()
    for draw in range(4):
        model.zero_grad(set_to_none=True)
        model(IDS[:, :32], labels=IDS[:, :32], draw=draw).loss.backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", PLACED_AT_RANDOM)
def test_a_method_that_samples_is_refused_in_training_without_a_draw(extended, name):
    model = extended(name).train()
    with pytest.raises(ValueError, match="pass draw="):
        model(IDS)
    model.eval()(IDS)


@torch.no_grad()
def test_equal_draws_give_equal_losses_and_only_methods_that_sample_care(extended, any_method):
    model = extended(any_method).train()
    losses = [model(IDS, labels=IDS, draw=draw).loss.item() for draw in (3, 3, 4, 5, 6)]
    assert losses[0] == losses[1]
    assert (len(set(losses)) > 1) == model.model.method.positions.samples


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


def off_by(logits, wanted):
    """Return the error of logits as a share of them."""
    return float((logits.float() - wanted).detach().norm() / wanted.detach().norm())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_a_model_in_half_precision_stays_one_and_is_as_exact_as_the_stock_model_there(
    tiny, extended, any_method, dtype
):
    model = extended(any_method).to(dtype)
    model.model.method.float()
    logits = model(IDS).logits
    assert logits.dtype == dtype
    assert frequencies(model, TOKENS).dtype == torch.float32
    rounding = off_by(tiny().to(dtype)(IDS).logits, tiny()(IDS).logits)
    assert off_by(logits, extended(any_method)(IDS).logits) < 1.2 * rounding


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite", "self_extend", "log_n", "lm_infinite_top_k"])
@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_rounds_as_that_of_the_stock_model_in_passes_of_every_kind(tiny, extended, name, family):
    """Under it values are of the lower precision, and queries and keys that were normed or turned are not."""
    model, stock = extended(name, family).train(), tiny(family).train()
    exact, stock_exact = model(IDS, labels=IDS), stock(IDS, labels=IDS)
    with torch.autocast("cpu", torch.bfloat16):
        whole, stock_whole = model(IDS, labels=IDS), stock(IDS, labels=IDS)
        with torch.no_grad():
            last = in_chunks(model, IDS, [60, TOKENS - 1, TOKENS])[:, -1]
    rounding = off_by(stock_whole.logits, stock_exact.logits)
    assert off_by(whole.logits, exact.logits) < 1.5 * rounding
    if name not in CHUNKS_MATTER:
        assert off_by(last, exact.logits[:, -1]) < 2 * rounding
    whole.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("name", "family"), [("yarn", "llama"), ("yarn", "stablelm"), ("clex", "llama"), ("lm_infinite", "llama")]
)
def test_sharded_mixed_precision_leaves_the_frequencies_alone(extended, name, family, monkeypatch, group):
    seen = []

    def watched(q, k, v, rope, *rest):
        seen.append((q.dtype, rope.inv_freq, rope.key_tables[0].cos))
        return attend(q, k, v, rope, *rest)

    model = extended(name, family)
    monkeypatch.setattr("lcx_lightning.passes.attend", watched)
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
