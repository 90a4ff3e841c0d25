"""The library: a method by its name, values by keyword, the stock model back, and generation as before."""

import copy

import pytest
import torch
from omegaconf import OmegaConf
from support.chunked_reading import CHUNKS_MATTER
from support.pairs import a_few, pairs

import lcx_lightning as lcx
from lcx_lightning.methods.library import complete, methods, read_method
from lcx_lightning.methods.overrides import open_values, with_values

TOKENS = 60  # about twice the pretraining length of the tiny models
IDS = torch.randint(1, 64, (2, TOKENS), generator=torch.Generator().manual_seed(0))
VALUES = {"factor": 4, "train_factor": 1}  # of what method files leave open


def values_of(name):
    return {key: value for key, value in VALUES.items() if key in open_values(read_method(name))}


def close(actual, wanted):
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def logits(model):
    return model(IDS).logits


# Attach by name


def test_every_method_there_is_attaches_by_its_name(tiny, extended, any_method):
    assert any_method in lcx.methods()
    torch.manual_seed(1)  # as the fixture draws the weights of a learned method
    close(logits(lcx.attach(tiny(), any_method, **values_of(any_method))), logits(extended(any_method)))


def test_a_list_of_names_composes_and_the_values_go_to_both(tiny):
    method = lcx.attach(tiny(), ["clex", "lm_infinite"], factor=4, sink_tokens=3).model.attached.method
    assert (method.positions.max_factor, method.pattern.sink_tokens, method.pattern.window) == (4, 3, 32)


def test_a_method_that_was_built_attaches_as_it_is(tiny, build, spec):
    method = build("lm_infinite", spec)
    assert lcx.attach(tiny(), method).model.attached.method is method
    with pytest.raises(ValueError, match="window would be ignored"):
        lcx.attach(tiny(), build("lm_infinite", spec), window=4)


def test_a_value_is_given_by_its_name_or_by_that_of_its_part(tiny):
    by_name = lcx.attach(tiny(), "lm_infinite", window=8).model.attached.method.pattern
    by_part = lcx.attach(tiny(), "lm_infinite", pattern={"window": 8}).model.attached.method.pattern
    assert (by_name.window, by_name.sink_tokens, by_name.distance_limit) == (8, 10, 32)
    assert vars(by_name) == vars(by_part)


def test_a_part_with_a_target_replaces_that_of_the_method(tiny):
    constant = {"_target_": "lcx_lightning.temperature.Constant"}
    method = lcx.attach(tiny(), "yarn", factor=4, temperature=constant).model.attached.method
    assert method.temperature.feature_scale(torch.tensor([4.0])).item() == 1
    assert method.positions.factor == 4


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("yarm", {}, r"no method 'yarm'. Did you mean yarn\? There are: .*lm_infinite"),
        ("yarn", {}, "needs a value for factor: give factor="),
        (
            "yarn",
            {"factor": 4, "fsat": 8},
            r"no value 'fsat'. Did you mean fast\? There are: factor; fast, slow of scaling",
        ),
        ("yarn", {"factor": 4, "scaling": {"fsat": 8}}, "scaling has no setting 'fsat'. There are: factor; fast, slow"),
        ("yarn", {"factor": 4, "scaling": 8}, "scaling needs a mapping of its settings, got 8"),
        ("pi", {"factor": 4, "positions": {"factor": 2}}, "factor would change nothing"),
        ("pretrained", {"factor": 4}, "no value 'factor'. There are: none"),
        ("pi", {"factor": 0.5}, r"^method\.positions\.factor must be a number of at least 1, got 0\.5\.$"),
        (["pi", "yarn"], {"factor": 4}, "pi and yarn all set scaling"),
        ("nowhere.yaml", {}, "no method file nowhere.yaml"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_the_model_is_as_it_was(tiny, name, values, complaint):
    model = tiny()
    before = set(dict(model.named_modules()))
    with pytest.raises(ValueError, match=complaint):
        lcx.attach(model, name, **values)
    assert set(dict(model.named_modules())) == before
    assert torch.equal(logits(model), logits(tiny()))


def test_a_name_of_two_parts_is_asked_for_by_part():
    twice = complete(OmegaConf.create({"scaling": {"_target_": "x.Y", "size": 1}, "pattern": {"size": 2}}))
    with pytest.raises(ValueError, match="size is a setting of scaling and pattern: say which, as in scaling="):
        with_values(twice, 32, {"size": 3})
    assert with_values(twice, 32, {"pattern": {"size": 3}}).pattern.size == 3


def test_a_model_that_is_not_supported_is_refused_by_name():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=8))
    with pytest.raises(ValueError, match="'gpt2'"):
        lcx.attach(model, "lm_infinite")


def test_a_method_follows_the_mode_of_its_model_and_reads_it_without_a_draw(tiny):
    model = lcx.attach(tiny(), "clex", factor=4)
    assert not model.model.attached.method.training
    assert logits(model).isfinite().all()
    assert lcx.attach(tiny().train(), "clex", factor=4).model.attached.method.training


# Detach


@pytest.mark.parametrize(("family", "name"), pairs(["llama", "gpt_neox", "phi"], methods(), meets=1))
def test_detach_gives_the_stock_model_back_to_the_bit(tiny, family, name):
    model, stock = tiny(family), tiny(family)
    rotary = model.base_model.rotary_emb
    lcx.attach(model, name, **values_of(name))
    logits(model)
    assert lcx.detach(model) is model
    assert torch.equal(logits(model), logits(stock))
    assert model.base_model.rotary_emb is rotary
    assert model.config._attn_implementation == stock.config._attn_implementation
    assert [name for name, _ in model.named_modules()] == [name for name, _ in stock.named_modules()]
    assert model.state_dict().keys() == stock.state_dict().keys()
    assert not model.base_model._forward_pre_hooks
    assert torch.equal(model.generate(IDS, max_new_tokens=5), stock.generate(IDS, max_new_tokens=5))


def test_a_method_adds_its_own_weights_to_the_models_and_no_others(tiny, any_method):
    model = lcx.attach(tiny(), any_method, **values_of(any_method))
    added = model.state_dict().keys() - tiny().state_dict().keys()
    assert {f"model.attached.method.{name}" for name in model.model.attached.method.state_dict()} == added


def test_a_second_method_needs_the_first_one_detached(tiny, extended):
    model = lcx.attach(tiny(), "dynamic_ntk")
    with pytest.raises(ValueError, match=r"has a method already: detach\(model\)"):
        lcx.attach(model, "lm_infinite")
    close(logits(lcx.attach(lcx.detach(model), "lm_infinite")), logits(extended("lm_infinite")))
    with pytest.raises(ValueError, match="model has no method"):
        lcx.detach(tiny())


def test_a_copy_of_a_model_has_a_method_of_its_own(tiny):
    model = lcx.attach(tiny(), "lm_infinite", window=8)
    wanted, other = logits(model), copy.deepcopy(model)
    assert torch.equal(logits(lcx.detach(other)), logits(tiny()))
    assert torch.equal(logits(model), wanted)


# Generation


def generate(model, ids, new=25, **options):
    """Return the generated sequences, and the logits of every new token."""
    options = {"do_sample": False, "output_logits": True, "return_dict_in_generate": True} | options
    out = model.generate(ids, max_new_tokens=new, **options)
    return out.sequences, torch.stack(out.logits, dim=1)


def test_generation_with_a_cache_has_the_logits_of_generation_without(extended, some_method):
    model, prompt = extended(some_method), IDS[:, :30]
    ours, cached = generate(model, prompt)
    again, uncached = generate(model, prompt, use_cache=False)
    if some_method not in CHUNKS_MATTER:
        assert torch.equal(ours, again)
        close(cached, uncached)


@pytest.mark.parametrize("name", ["dynamic_ntk", "clex"])
def test_generation_holds_the_factor_of_its_longest_length_unless_it_may_grow(extended, tiny, name):
    model, prompt = extended(name), IDS[:, :30]
    held, _ = generate(model, prompt)
    with torch.no_grad():
        rope = model.model.attached.method.rope(torch.ones(1, 30, dtype=torch.bool), 30, future_tokens=25)
        longest = model.model.attached.method.rope(torch.ones(1, 55, dtype=torch.bool), 55)
    assert torch.equal(rope.inv_freq, longest.inv_freq)
    assert rope.key_index.shape == (1, 30)
    torch.manual_seed(1)
    growing = lcx.attach(tiny(), name, **values_of(name), grow=True)
    _, first = generate(growing, prompt, new=1)
    close(first[:, 0], growing(prompt).logits[:, -1])
    assert not torch.allclose(first[:, 0], generate(model, prompt)[1][:, 0], atol=1e-3)
    close(growing(held).logits, model(held).logits)  # outside a generation they are the same


def test_a_generation_leaves_no_length_behind_also_when_it_fails(extended):
    model = extended("dynamic_ntk")
    wanted = logits(model)
    generate(model, IDS[:, :30], new=40)
    assert torch.equal(logits(model), wanted)
    with pytest.raises(ValueError, match="model_kwargs"):
        model.generate(IDS, max_new_tokens=40, nonsense=1)
    assert torch.equal(logits(model), wanted)


def test_a_generation_beyond_the_reach_is_refused_before_its_first_token(extended):
    with pytest.raises(ValueError, match="A context of 130 tokens needs factor 5"):
        extended("clex").generate(IDS[:, :30], max_new_tokens=100)


SEARCHES = {"greedy": {}, "beams": {"num_beams": 3}}


@pytest.mark.parametrize(("options", "name"), a_few(pairs(SEARCHES, methods(), meets=1), 8))
def test_a_prompt_in_a_padded_batch_generates_what_it_generates_alone(extended, name, options):
    model, lengths = extended(name), (30, 17)
    ids = torch.stack([torch.nn.functional.pad(row[:n], (30 - n, 0)) for row, n in zip(IDS, lengths, strict=True)])
    mask = (torch.arange(30) >= 30 - torch.tensor(lengths)[:, None]).long()
    together, scores = generate(model, ids, attention_mask=mask, **options)
    for row, n in enumerate(lengths):
        alone, wanted = generate(model, IDS[row : row + 1, :n], **options)
        assert torch.equal(together[row, 30:], alone[0, n:])
        if not options:
            close(scores[row], wanted[0])


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True, "top_k": 5}, {"num_beams": 3}, {"do_sample": True, "num_beams": 2}]
)
def test_the_pretrained_method_generates_as_the_stock_model(tiny, extended, options):
    sequences = []
    for model in (tiny(), extended("pretrained")):
        torch.manual_seed(7)
        sequences.append(generate(model, IDS, **options)[0])
    assert torch.equal(*sequences)


def test_the_library_lists_the_methods_of_the_folder():
    assert lcx.methods() == methods()
    with pytest.raises(AttributeError, match="attribute atach"):
        lcx.atach  # noqa: B018
