"""Keys that are held rotated give the logits of keys that are rotated in every pass."""

from typing import Any

import pytest
import torch
from support.cache_inputs import IDS, MASKS, SHAPES, close, every_key, read, small
from support.pairs import pairs
from transformers import DynamicCache

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.models.cache.growable_layer import GrowableLayer

DENSE = ["pretrained", "pi", "yarn", "longrope", "log_n", "dynamic_ntk", "clex"]
ENDS = {"tokens": range(1, 101), "chunks": [7, 40, 41, 90, 100], "at once": [100]}
pytestmark = pytest.mark.usefixtures("little_room")


@pytest.mark.parametrize(("method", "ends"), pairs(DENSE, ENDS, meets=1))
@torch.no_grad()
def test_keys_that_are_rotated_once_give_the_logits_of_keys_that_are_rotated_in_every_pass(extended, method, ends):
    model = extended(method)  # the factors of the last two change from pass to pass
    close(read(model, IDS, ends, every_key(model)), read(model, IDS, ends, DynamicCache()))


@pytest.mark.parametrize("family", ["cohere", "glm", "gpt_neox", "phi3", "smollm3", "stablelm"])
@torch.no_grad()
def test_keys_are_rotated_as_their_family_lays_them_out_and_not_in_layers_without_rotation(extended, family):
    model = extended("yarn", model_type=family)
    close(read(model, IDS, [7, 40, *range(90, 101)], every_key(model)), model(IDS).logits)


@pytest.mark.parametrize("family", ["glm", "smollm3"])
@torch.no_grad()
def test_keys_are_turned_on_as_their_family_lays_them_out_and_not_in_layers_without_rotation(extended, family):
    model, ends = extended("dynamic_ntk", model_type=family), [7, 40, 70, 100]
    close(read(model, IDS, ends, every_key(model)), read(model, IDS, ends, DynamicCache()))


@pytest.mark.parametrize(("method", "spans"), pairs(["pi", "dynamic_ntk"], MASKS, meets=1))
@torch.no_grad()
def test_padding_changes_no_logit_where_keys_are_rotated_once(extended, method, spans):
    model = extended(method)
    ids, mask = torch.zeros(2, 106, dtype=torch.int64), torch.zeros(2, 106, dtype=torch.int64)
    for row, (start, end) in enumerate(spans):
        ids[row, start:end], mask[row, start:end] = IDS[row].repeat(2)[: end - start], 1
    ends = [5, 37, 38, 60, *range(90, 107)]
    wanted = read(model, ids, ends, DynamicCache(), mask)[mask.bool()]
    close(read(model, ids, ends, every_key(model), mask)[mask.bool()], wanted)


@torch.no_grad()
def test_tokens_can_be_taken_back_from_a_cache_of_every_key(extended):
    model = extended("yarn")
    cache = every_key(model)
    read(model, IDS, [50, 51, 52, 80], cache)
    cache.crop(-35)
    close(model(IDS[:, 45:], past_key_values=cache).logits, model(IDS).logits[:, 45:])


@torch.no_grad()
def test_a_pass_turns_the_keys_it_adds_and_no_other(extended, monkeypatch):
    model = extended("yarn")
    cache, turned = every_key(model), []
    read(model, IDS, [90], cache)
    plain = rotate

    def counting(x, tables):
        turned.append(x.shape[2] if tables.cos.shape[-1] else 0)
        return plain(x, tables)

    for module in ("lcx_lightning.models.cache.rotation", "lcx_lightning.attention.backends.dense"):
        monkeypatch.setattr(f"{module}.rotate", counting)
    model(IDS[:, 90:91], past_key_values=cache)
    assert sum(turned) == 2 * 2  # query and key of two layers


@torch.no_grad()
def test_the_longer_a_text_the_more_tokens_are_added_without_a_copy_of_those_before_them():
    layer: Any = GrowableLayer()
    copies, at = [], None
    for length in range(1, 2001):
        layer.update(torch.full((1, 2, 1, 4), length), torch.full((1, 2, 1, 4), -length))
        copies += [length] if layer.keys.data_ptr() != at else []
        at = layer.keys.data_ptr()
    assert torch.equal(layer.keys, torch.arange(1, 2001)[None, None, :, None].expand(1, 2, -1, 4))
    assert torch.equal(-layer.values, layer.keys)
    assert len(copies) < 60  # room for 5 tokens up to 40, then for an eighth more
    assert len([length for length in copies if length > 1000]) < 10


@pytest.mark.parametrize("pattern", [Causal(), SHAPES["limit inside the window"]])
@torch.no_grad()
def test_keys_are_turned_to_the_positions_of_every_pass(shaped, pattern):
    model = shaped(pattern, "pose").train()
    ours = every_key(model) if isinstance(pattern, Causal) else small(model, rotated=True)
    logits = []
    for cache in (ours, DynamicCache()):
        parts = [(0, 20), (20, 27), (27, 28), (28, 31)]
        logits.append([model(IDS[:, a:b], past_key_values=cache, placement_seed=a).logits for a, b in parts])
    close(*(torch.cat(parts, dim=1) for parts in logits))


@torch.no_grad()
def test_a_cache_of_rotated_keys_is_refused_by_a_model_without_a_method(extended, tiny):
    with pytest.raises(ValueError, match="filled by passes of a model with a method"):
        tiny()(IDS, past_key_values=every_key(extended("yarn")))


def test_keys_are_not_held_rotated_where_the_factor_grows_or_a_native_window_ends_them(extended):
    assert type(smallest_cache(extended("dynamic_ntk"))) is DynamicCache
    assert smallest_cache(extended(["dynamic_ntk", "lm_infinite"])).rotation is None
    assert type(smallest_cache(extended("yarn", model_type="mistral", sliding_window=20))) is DynamicCache


def test_a_scheme_says_whether_its_factor_goes_by_length(any_method, extended):
    method = extended(any_method).base_model.attached.method
    length = method.scaling.spec.pretrain_length
    factors = [float(method.positions.evaluation_factor(torch.tensor([n]), length)[0]) for n in (length, 3 * length)]
    assert (factors[0] != factors[1]) == method.positions.length_dependent
