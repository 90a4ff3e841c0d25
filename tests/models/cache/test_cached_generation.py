"""Generation chooses the cache that serves a method, and gives what a cache of everything gives."""

import pytest
import torch
from support.cache_inputs import GENERATION, IDS, ROOM, SHAPES, close, small
from support.pairs import pairs
from transformers import DynamicCache, GenerationConfig

from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.models.cache.rotated import RotatedCache
from lcx_lightning.models.cache.window import WindowCache

pytestmark = pytest.mark.usefixtures("little_room")


@pytest.mark.parametrize(("options", "left"), pairs(GENERATION, [0, 13], meets=1))
def test_generation_is_that_of_a_cache_that_holds_everything(shaped, options, left):
    model = shaped(SHAPES["limit beyond the window"])
    ids = IDS[:, :40].clone()
    mask = (torch.arange(40) >= torch.tensor([[0], [left]])).long()
    wanted, ours, given = [], [], small(model)
    for caches, results in (({"past_key_values": DynamicCache()}, wanted), ({"past_key_values": given}, ours)):
        torch.manual_seed(3)
        out = model.generate(ids, attention_mask=mask, **{"max_new_tokens": 30, "do_sample": False} | options | caches)
        results.append(out)
    assert torch.equal(ours[0], wanted[0])
    assert given.layers[0].keys.shape[2] <= 3 + 16 - 1 + ROOM


KINDS = {
    "lm_infinite": WindowCache,
    "streaming_llm": WindowCache,
    "self_extend": DynamicCache,
    "yarn": RotatedCache,
    "dynamic_ntk": RotatedCache,
}


def test_a_method_with_a_window_generates_from_a_small_cache_and_another_from_all_keys(extended):
    for name, kind in KINDS.items():
        out = extended(name).generate(
            IDS[:, :40], max_new_tokens=3, do_sample=False, return_dict_in_generate=True, use_cache=True
        )
        assert type(out.past_key_values) is kind


def test_a_generation_whose_length_nobody_planned_holds_no_keys_rotated_whose_factor_grows(extended):
    model = extended("dynamic_ntk")
    model.generation_config.max_length = None
    with pytest.warns(UserWarning, match="model-agnostic default `max_length`"):
        out = model.generate(IDS[:, :20], do_sample=False, return_dict_in_generate=True)
    assert type(out.past_key_values) is DynamicCache


def test_a_generation_configuration_that_leaves_the_cache_open_gets_the_small_one(extended):
    options = GenerationConfig(max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
    for arguments, keywords in (((options,), {}), ((), {"generation_config": options})):
        out = extended("lm_infinite").generate(IDS[:, :40], *arguments, **keywords)
        assert type(out.past_key_values) is WindowCache
        assert out.sequences.shape[1] == 40 + 3


@pytest.mark.parametrize("method", ["lm_infinite", "yarn"])
@torch.no_grad()
def test_a_generation_goes_on_from_the_cache_of_the_one_before(extended, method):
    model = extended(method)
    options = {"do_sample": False, "return_dict_in_generate": True}
    first = model.generate(IDS, max_new_tokens=10, **options)
    second = model.generate(first.sequences, max_new_tokens=10, past_key_values=first.past_key_values, **options)
    assert torch.equal(second.sequences, model.generate(IDS, max_new_tokens=20, **options).sequences)


@pytest.mark.parametrize(("options", "method"), pairs(GENERATION, ["yarn", "dynamic_ntk"], meets=1))
def test_generation_from_keys_rotated_once_is_that_of_keys_rotated_in_every_pass(extended, options, method):
    model, results = extended(method), []
    mask = (torch.arange(40) >= torch.tensor([[0], [13]])).long()
    for cache in (DynamicCache(), None):
        torch.manual_seed(3)
        given = {} if cache is None else {"past_key_values": cache}
        asked = {"max_new_tokens": 30, "do_sample": False} | options | given
        results.append(model.generate(IDS[:, :40], attention_mask=mask, **asked))
    assert torch.equal(*results)


@torch.no_grad()
def test_keys_of_a_generation_are_turned_on_by_the_factor_of_the_next(extended):
    model, logits = extended("dynamic_ntk"), []
    for cache in (DynamicCache(), smallest_cache(model, fixed_factor=True)):
        options = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
        first = model.generate(IDS, max_new_tokens=10, past_key_values=cache, **options)
        second = model.generate(first.sequences, max_new_tokens=50, past_key_values=cache, **options)
        logits.append(torch.stack(second.logits))
    close(*logits)


@pytest.mark.parametrize(
    ("assistant", "method"), pairs(["yarn", "lm_infinite", "dynamic_ntk"], ["dynamic_ntk", "lm_infinite"], meets=1)
)
def test_a_method_with_a_window_assists_and_is_assisted(extended, method, assistant):
    model, options = extended(method), {"max_new_tokens": 20, "do_sample": False}
    wanted = model.generate(IDS[:1, :40], **options)
    other = extended(assistant, num_hidden_layers=1)
    assert torch.equal(model.generate(IDS[:1, :40], assistant_model=other, **options), wanted)


@pytest.mark.parametrize("method", ["dynamic_ntk", "lm_infinite"])
def test_a_model_assists_itself_and_goes_on_at_the_factor_of_its_own_generation(extended, method):
    model, options = extended(method), {"max_new_tokens": 20, "do_sample": False}
    wanted = model.generate(IDS[:1, :40], **options)
    assert torch.equal(model.generate(IDS[:1, :40], assistant_early_exit=1, **options), wanted)
    assert model.base_model.attached.planned_length == 0
