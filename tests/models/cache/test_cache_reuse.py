"""A cache goes on after an interrupted pass, as a copy, under another method, and where gradients go through it."""

import copy

import pytest
import torch
from support.cache_inputs import IDS, SHAPES, close, every_key, read, small
from support.pairs import pairs
from transformers import DynamicCache

from lcx_lightning.models.cache.choose import smallest_cache

pytestmark = pytest.mark.usefixtures("little_room")
KINDS = {
    "every key": ("dynamic_ntk", every_key),
    "banded": ("lm_infinite", small),
    "banded and rotated": ("lm_infinite", lambda model: small(model, rotated=True)),
}


@pytest.mark.parametrize(("method", "kind"), KINDS.values(), ids=KINDS)
@torch.no_grad()
def test_a_pass_that_was_interrupted_before_its_first_layer_changes_nothing(extended, method, kind):
    model = extended(method)
    cache = kind(model)
    read(model, IDS, [40], cache)
    with pytest.raises(IndexError):
        model(torch.full((2, 40), 64), past_key_values=cache)
    close(model(IDS[:, 40:], past_key_values=cache).logits, read(model, IDS, [40, 100], DynamicCache())[:, 40:])


@pytest.mark.parametrize(("method", "kind"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_copies_of_the_cache_of_a_prompt_go_on_alone(extended, method, kind, mode):
    model = extended(method)
    cache = kind(model)
    with mode():
        read(model, IDS, [30, 31, 60], cache)
    with torch.no_grad():
        for start in (60, 80, 70):
            one = copy.deepcopy(cache)
            text = torch.cat([IDS[:, :60], IDS[:, start : start + 20]], dim=1)
            wanted = read(model, text, [30, 31, 60, 65, 80], DynamicCache())[:, 60:]
            close(read(model, text[:, 60:], [5, 20], one), wanted)


@pytest.mark.parametrize(("method", "kind"), KINDS.values(), ids=KINDS)
def test_a_text_goes_on_in_another_mode_of_autograd_than_it_began_in(extended, method, kind):
    model = extended(method).requires_grad_(False)
    cache, ends, logits = kind(model), [30, 31, 32, 33, 34, 35, 36], []
    modes = [torch.inference_mode, torch.inference_mode, torch.no_grad, torch.inference_mode, torch.enable_grad]
    modes = [*modes, torch.inference_mode, torch.no_grad]
    for mode, start, end in zip(modes, [0, *ends], ends, strict=False):
        with mode():
            logits.append(model(IDS[:, start:end], past_key_values=cache).logits.clone())
    close(torch.cat(logits, dim=1), read(model, IDS, ends, DynamicCache()))


@pytest.mark.parametrize(
    ("other", "family"),
    pairs(["pi", "longrope", "self_extend", "lm_infinite", "lm_infinite_top_k"], ["llama", "glm"], meets=1),
)
@torch.no_grad()
def test_a_model_with_another_method_goes_on_from_rotated_keys(extended, other, family):
    first, second, logits = extended("yarn", model_type=family), extended(other, model_type=family), []
    for cache in (every_key(first), DynamicCache()):
        parts = read(first, IDS, [20, 40], cache), read(second, IDS[:, 40:], [1, 5, 30], cache)
        logits.append(torch.cat([*parts, first(IDS[:, 70:], past_key_values=cache).logits], dim=1))
    close(*logits)


@torch.no_grad()
def test_a_model_with_another_temperature_alone_goes_on_from_rotated_keys(extended):
    first, second, logits = extended("yarn"), extended("yarn"), []
    second.base_model.attached.method.temperature = extended("pi").base_model.attached.method.temperature
    for cache in (every_key(first), DynamicCache()):
        read(first, IDS, [40], cache)
        logits.append(second(IDS[:, 40:], past_key_values=cache).logits)
    close(*logits)


@pytest.mark.parametrize(("method", "kind"), KINDS.values(), ids=KINDS)
@torch.no_grad()
def test_a_model_without_a_method_is_refused_in_the_middle_of_a_text_and_leaves_the_cache_as_it_was(
    extended, tiny, method, kind
):
    model = extended(method)
    cache = kind(model)
    read(model, IDS, [50, 51], cache)
    with pytest.raises(ValueError, match="filled by passes of a model with a method"):
        tiny()(IDS[:, 51:52], past_key_values=cache)
    close(model(IDS[:, 51:], past_key_values=cache).logits, read(model, IDS, [50, 51, 100], DynamicCache())[:, 51:])


@pytest.mark.parametrize(("learned", "method"), pairs(["q_proj", "v_proj", "k_proj"], ["yarn", "lm_infinite"], meets=1))
def test_gradients_through_a_cache_are_those_of_a_cache_that_holds_everything(extended, method, learned):
    gradients = []
    for ours in (True, False):
        model = extended(method).requires_grad_(False)
        weight = model.get_submodule(f"base_model.layers.0.self_attn.{learned}").weight.requires_grad_(True)
        cache = smallest_cache(model) if ours else DynamicCache()
        read(model, IDS, [20, 21, 22, 40], cache).square().mean().backward()
        gradients.append(weight.grad)
    close(*gradients)


@pytest.mark.parametrize("method", ["clex", "clex_lm_infinite"])
def test_frequencies_learn_from_keys_that_were_added_without_a_gradient(extended, method):
    gradients = []
    for ours in (True, False):
        model = extended(method)
        model.base_model.attached.planned_length = 100  # one factor for all passes
        cache = smallest_cache(model, fixed_factor=True) if ours else DynamicCache()
        with torch.no_grad():
            read(model, IDS, [20, 21], cache)
        model(IDS[:, 21:40], past_key_values=cache).logits.square().mean().backward()
        gradients.append(torch.cat([x.grad.flatten() for x in model.base_model.attached.method.parameters()]))
    assert gradients[1].abs().max() > 1e-2
    close(*gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_keys_that_stay_where_they_are_are_rounded_as_often_as_late_ones(extended, dtype):
    for pattern, method in ((None, "yarn"), (SHAPES["no limit"], "pi")):
        model = extended(method, dtype=dtype)
        if pattern is not None:
            model.base_model.attached.method.pattern = pattern
        cache, ends = smallest_cache(model), [7, 40, *range(60, 101)]
        assert torch.equal(read(model, IDS, ends, cache), read(model, IDS, ends, DynamicCache()))


def test_a_cache_says_whether_tokens_can_be_taken_back(extended):
    assert every_key(extended("yarn")).is_croppable
    assert not small(extended("lm_infinite")).is_croppable
