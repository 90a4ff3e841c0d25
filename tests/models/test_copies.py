"""Copies of a model with a method: by copy, pickle and torch.save, in this process and in another one."""

import copy
import io
import multiprocessing
import pickle
import subprocess
import sys

import pytest
import torch
from support.answers import answer, answers
from support.cache_inputs import IDS
from support.pairs import a_few, pairs
from torch.distributed.device_mesh import init_device_mesh
from transformers import AttentionInterface

from lcx_lightning.methods.library import methods
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.attached import has_method, method_of
from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.models.context_parallel import split_texts
from lcx_lightning.models.generation import one_factor
from lcx_lightning.models.lora import add_adapters

KINDS = ["llama", "stablelm", "cohere"]  # layers that pass keywords on, layers that drop them, interleaved pairs


def through_torch(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch": through_torch,
    "pickle of a copy": lambda model: pickle.loads(pickle.dumps(copy.deepcopy(model))),
    "copy of a pickle": lambda model: copy.deepcopy(pickle.loads(pickle.dumps(model))),
}


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture
def forgotten(monkeypatch):
    """A function that lets transformers forget the attention function, as a process that attached nothing does."""

    def forget():
        monkeypatch.delitem(AttentionInterface._global_mapping, "lcx")

    return forget


@pytest.mark.parametrize(("how", "name"), a_few(pairs(COPIES, methods(), meets=1), 8))
def test_a_copy_answers_as_the_original(extended, forgotten, how, name):
    family = KINDS[methods().index(name) % len(KINDS)]
    model = extended(name, family, **({"rope_theta": 10_000.0} if name == "abf" else {}))  # below that of ABF
    wanted = answers(model)
    forgotten()
    assert same(answers(how(model)), wanted)
    assert same(answers(model), wanted)


@pytest.mark.parametrize(("family", "how"), a_few(pairs(KINDS, COPIES), 4))
def test_a_copy_and_its_original_are_independent(tiny, extended, family, how):
    model, stock = extended("lm_infinite", family), tiny(family)
    other = how(model)
    wanted, plain = answers(model), answers(stock)
    assert same(answers(detach(other)), plain)
    assert same(answers(model), wanted)
    assert not other.base_model._forward_pre_hooks
    again = how(model)
    assert same(answers(detach(model)), plain)
    assert same(answers(again), wanted)
    assert same(
        answers(attach(detach(again), "lm_infinite", window=8)), answers(attach(other, "lm_infinite", window=8))
    )


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_a_copy_generates_from_its_own_weights_and_settings(extended, how):
    model = extended("dynamic_ntk")
    other = how(model)
    wanted = answers(model)
    with torch.no_grad():
        other.lm_head.weight.neg_()
    assert not same(answers(other), wanted)
    assert same(answers(model), wanted)
    method_of(other).positions = method_of(extended("pi")).positions
    assert not torch.equal(answers(other)[1], answers(model)[1])
    assert same(answers(model), wanted)


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_a_copy_is_trained_by_itself(extended, how):
    model = extended("clex").train()
    other = how(model)
    before = copy.deepcopy(model.state_dict())
    other(IDS, labels=IDS, placement_seed=0).loss.backward()
    assert all(p.grad is not None for p in method_of(other).parameters())
    torch.optim.SGD(other.parameters(), lr=0.5).step()
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert any(not torch.equal(x, before[name]) for name, x in other.state_dict().items())


def test_a_copy_of_a_model_with_adapters_answers_as_the_original(extended):
    model = add_adapters(extended("yarn"), rank=2, alpha=4, targets="attention", in_full=[], seed=0)
    wanted = answers(model)
    assert all(same(answers(how(model)), wanted) for how in COPIES.values())


@pytest.mark.parametrize(("how", "name"), pairs(COPIES, ["yarn", "lm_infinite", "self_extend", "dynamic_ntk"]))
@torch.no_grad()
def test_a_cache_is_copied_with_the_model_that_fills_it(extended, how, name):
    model = extended(name)
    with one_factor(model, 100):
        cache = smallest_cache(model, fixed_factor=True)
        model(IDS[:, :60], past_key_values=cache)
        other, held = how((model, cache))
        wanted = [model(IDS[:, i : i + 1], past_key_values=cache).logits for i in range(60, 90)]
        assert same(wanted, [other(IDS[:, i : i + 1], past_key_values=held).logits for i in range(60, 90)])


@pytest.mark.parametrize("family", a_few(KINDS, 1))
def test_a_model_is_copied_after_a_pass_that_broke_off(extended, family):
    model = extended("clex_lm_infinite", family)
    wanted = answers(model)
    with pytest.raises(IndexError):
        model(IDS + 64)
    assert all(same(answers(how(model)), wanted) for how in COPIES.values())


def test_a_shallow_copy_shares_its_layers_and_with_them_its_method(extended, tiny):
    model = extended("lm_infinite")
    other, wanted = copy.copy(model), answers(model)
    assert same(answers(other), wanted)
    detach(other)
    assert not has_method(model)
    assert same(answers(model), answers(tiny()))
    assert same(answers(other), answers(tiny()))


def test_a_model_that_shares_its_texts_with_other_ranks_is_not_copied(extended, group):
    model = extended("pi")
    split_texts(model, init_device_mesh("cpu", (1,)))
    assert same(answers(copy.deepcopy(model)), answers(model))
    model.model.attached.mesh = init_device_mesh("cpu", (1,))  # as a mesh of several ranks would be kept
    for how in (copy.deepcopy, pickle.dumps, lambda model: torch.save(model, io.BytesIO())):
        with pytest.raises(ValueError, match="texts are split over ranks cannot be copied or pickled"):
            how(model)


LOAD = """
import sys, torch
assert not any(name.startswith("lcx_lightning") for name in sys.modules)
model, ids, cache, wanted = torch.load(sys.argv[1], weights_only=False)
assert torch.equal(model(ids).logits, wanted[0])
assert torch.equal(model.generate(ids[:1, :40], max_new_tokens=30, do_sample=False, pad_token_id=0), wanted[1])
assert torch.equal(model(ids[:, 60:], past_key_values=cache).logits, wanted[2])
import lcx_lightning as lcx
lcx.detach(model)
assert torch.equal(model(ids).logits, wanted[3])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), [("llama", "clex"), ("stablelm", "lm_infinite"), ("phi", "self_extend")])
def test_another_process_loads_a_model_without_knowing_what_it_is(tiny, extended, tmp_path, family, name):
    model, stock = extended(name, family), tiny(family)
    with torch.no_grad():
        cache = smallest_cache(model)
        model(IDS[:, :60], past_key_values=cache)
        before = copy.deepcopy(cache)
        wanted = [*answers(model)[:2], model(IDS[:, 60:], past_key_values=cache).logits, stock(IDS).logits]
    torch.save((model, IDS, before, wanted), tmp_path / "model.pt")
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path / "model.pt")], check=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "stablelm"])
def test_a_spawned_process_is_given_a_model(extended, family):
    model = extended("dynamic_yarn", family)
    context = multiprocessing.get_context("spawn")
    answered = context.Queue()
    process = context.Process(target=answer, args=(model, answered))
    process.start()
    found = [torch.from_numpy(x) for x in answered.get(timeout=300)]
    process.join()
    assert same(found, answers(model))
