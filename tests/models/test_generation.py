"""What a model writes after a prompt: against passes over the whole text, whatever the batch; and its sampling."""

from typing import Any

import numpy as np
import pytest
import torch
from support.cache_inputs import IDS
from support.pairs import a_few
from support.refusals import refusal
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper

from lcx_lightning.evaluation.retrieval.answer_likelihood import given_answers
from lcx_lightning.evaluation.tasks.nucleus import Nucleus
from lcx_lightning.methods.library import read_method
from lcx_lightning.methods.overrides import open_values
from lcx_lightning.models.attach import attach
from lcx_lightning.models.generation import continuations

PROMPTS = [IDS[0, :50].tolist(), IDS[1, :23].tolist(), IDS[0, 40:91].tolist()]
NEW = 12


def step_by_step(model, prompt, pick=torch.argmax):
    """Return the most probable tokens after a prompt, each from a pass over the whole text without a cache."""
    ids = list(prompt)
    for _ in range(NEW):
        with torch.no_grad():
            ids.append(int(pick(model(torch.tensor([ids]), use_cache=False).logits[0, -1])))
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", ["pretrained", "yarn", "lm_infinite", "self_extend"])
@pytest.mark.parametrize("chunk", [100, 9])
def test_a_continuation_is_that_of_passes_over_the_whole_text(extended, name, chunk):
    model = extended(name)
    assert continuations(model, PROMPTS, NEW, chunk=chunk) == [step_by_step(model, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("name", ["dynamic_ntk", "clex", "lm_infinite"])
def test_a_continuation_does_not_depend_on_the_others_of_its_batch(extended, name):
    model = extended(name)
    alone = [continuations(model, [prompt], NEW, chunk=100)[0] for prompt in PROMPTS]
    assert continuations(model, PROMPTS, NEW, chunk=100) == alone


def growing(tiny, name) -> Any:
    """Return a tiny model whose factor grows with every token of a generation."""
    torch.manual_seed(1)
    values = {"factor": 4, "train_factor": 1}
    return attach(tiny(), name, **{n: x for n, x in values.items() if n in open_values(read_method(name))}, grow=True)


def pass_by_pass(model, prompt, new):
    """Return the most probable tokens, from passes into a plain cache, each at the factor of the length so far."""
    cache, ids, read = DynamicCache(config=model.config), list(prompt), list(prompt)
    for _ in range(new):
        with torch.no_grad():
            read = [int(model(torch.tensor([read]), past_key_values=cache).logits[0, -1].argmax())]
        ids += read
    return ids[len(prompt) :]


DYNAMIC = ["dynamic_ntk", "dynamic_yarn", "clex", "clex_blocks", "clex_lm_infinite", "longrope"]


@pytest.mark.parametrize("name", a_few(DYNAMIC, 2))
def test_an_answer_whose_factor_grows_does_not_depend_on_how_many_tokens_are_asked_for(tiny, name):
    model = growing(tiny, name)
    for prompt in PROMPTS:
        wanted = pass_by_pass(model, prompt, 40)
        for new in (1, 5, 40):
            assert continuations(model, [prompt], new, chunk=100) == [wanted[:new]]
    assert model.base_model.attached.planned_length == 0


@pytest.mark.parametrize("name", ["dynamic_ntk", "clex", "clex_lm_infinite"])
def test_given_answers_are_likeliest_where_a_growing_model_generates_them(tiny, name):
    model, prompt = growing(tiny, name), PROMPTS[0]
    said = torch.tensor(continuations(model, [prompt], 20, chunk=100))
    losses, right = given_answers(model, torch.tensor([prompt]), said)
    assert right.all()
    held = growing(tiny, name)
    held.base_model.attached.grow = False
    assert not torch.allclose(given_answers(held, torch.tensor([prompt]), said)[0], losses, atol=1e-3)


@pytest.mark.parametrize("name", ["yarn", "lm_infinite"])
def test_nothing_grows_under_a_method_whose_factor_is_the_same_at_every_length(tiny, extended, name):
    model = growing(tiny, name)
    assert not model.base_model.attached.grow
    assert continuations(model, PROMPTS, NEW, chunk=100) == continuations(extended(name), PROMPTS, NEW, chunk=100)


@pytest.mark.parametrize("grow", ["false", 1, 0.0])
def test_whether_it_grows_is_true_or_false(tiny, grow):
    with pytest.raises(ValueError, match=refusal({"grow": grow}, "true, false or null")):
        attach(tiny(), "dynamic_ntk", grow=grow)


SETTINGS = [
    {"do_sample": True, "temperature": 0.3, "top_k": 2, "repetition_penalty": 3.0, "num_beams": 2},
    {"suppress_tokens": list(range(40))},
    {"begin_suppress_tokens": list(range(40))},
    {"bad_words_ids": [[token] for token in range(3, 50)]},
    {"sequence_bias": [[[7], 50.0]]},
    {"encoder_repetition_penalty": 5.0},
    {"guidance_scale": 3.0},
    {"watermarking_config": {"bias": 20.0}},
    {"exponential_decay_length_penalty": [1, 5.0]},
    {"forced_eos_token_id": 5},
    {"min_new_tokens": 30, "min_length": 200},
    {"max_time": 1e-4},
    {"stop_strings": ["1"]},
    {"num_return_sequences": 2},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"dola_layers": "high"},
    {"token_healing": True},
    {"return_dict_in_generate": True},
    {"prompt_lookup_num_tokens": 3},
    {"cache_implementation": "static"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_what_a_generation_config_says_of_sampling_and_penalties_changes_nothing(extended, settings):
    model = extended("yarn")
    wanted = continuations(model, PROMPTS, NEW, chunk=100)
    model.generation_config.eos_token_id = 255
    vars(model.generation_config).update(settings)  # as from a file, unchecked
    before = model.generation_config
    assert continuations(model, PROMPTS, NEW, chunk=100) == wanted
    assert model.generation_config is before


@pytest.mark.parametrize("eos", [{"_target_": "os.system"}, "2", [1, "2"], [None]])
def test_an_end_token_that_is_no_number_is_refused(extended, eos):
    model = extended("yarn")
    model.generation_config.eos_token_id = eos
    with pytest.raises(ValueError, match="eos_token_id in the generation config must be one id or a list of ids"):
        continuations(model, PROMPTS, NEW, chunk=100)


def test_a_text_ends_before_the_token_that_ends_it_but_not_before_it_began(extended):
    model = extended("yarn")
    (whole,) = continuations(model, PROMPTS[:1], NEW, chunk=100)
    end = next(token for token in whole if token != whole[0])
    assert continuations(model, PROMPTS[:1], NEW, chunk=100, ends=[end]) == [whole[: whole.index(end)]]
    (other,) = continuations(model, PROMPTS[:1], NEW, chunk=100, ends=[whole[0]])
    assert other
    assert whole[0] not in other
    model.generation_config.eos_token_id = whole[0]
    assert continuations(model, PROMPTS[:1], NEW, chunk=100) == [[]]


def test_samples_have_the_distribution_of_nucleus_sampling():
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(0))
    rows = 20_000
    sampled = Nucleus(temperature=0.7, top_p=0.8, seed=0, names=list(map(str, range(rows))))
    drawn = sampled(torch.zeros(rows, 1, dtype=torch.long), logits.expand(rows, -1)).argmax(-1)
    kept = TopPLogitsWarper(0.8)(torch.zeros(1, 1), TemperatureLogitsWarper(0.7)(torch.zeros(1, 1), logits))
    wanted = kept.softmax(-1)[0].numpy()
    assert 2 < np.count_nonzero(wanted) < 12
    shares = np.bincount(drawn.numpy(), minlength=12) / rows
    assert not shares[wanted == 0].any()
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / rows)


def test_a_sample_depends_on_its_name_and_seed_alone(extended):
    model = extended("dynamic_ntk")

    def drawn(prompts, names, seed=0):
        nucleus = Nucleus(temperature=1.0, top_p=0.95, seed=seed, names=names)
        return continuations(model, prompts, NEW, chunk=100, sampling=nucleus)

    torch.manual_seed(1)
    several = drawn(PROMPTS, ["a", "b", "c"])
    torch.manual_seed(2)
    assert drawn(PROMPTS[::-1], ["c", "b", "a"]) == several[::-1]
    assert [drawn([p], [n])[0] for p, n in zip(PROMPTS, "abc", strict=True)] == several
    assert drawn(PROMPTS, ["a", "b", "d"])[2] != several[2]
    assert drawn(PROMPTS, ["a", "b", "c"], seed=1) != several


def test_hardly_any_temperature_samples_the_most_probable_token(extended):
    model = extended("yarn")
    cold = Nucleus(temperature=1e-6, top_p=1.0, seed=0, names=["a", "b", "c"])
    assert continuations(model, PROMPTS, NEW, chunk=100, sampling=cold) == continuations(model, PROMPTS, NEW, chunk=100)
