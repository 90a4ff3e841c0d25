"""A small cache gives the logits of one that holds everything, and holds no more than sinks and a window."""

import pytest
import torch
from support.cache_inputs import HELD, IDS, MASKS, ROOM, SHAPES, TOKENS, close, every_key, read, small
from support.pairs import a_few, pairs
from transformers import DynamicCache

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.lambda_top_k import LambdaTopK
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.rope import angles, rotation_tables
from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.models.cache.window import WindowCache

pytestmark = pytest.mark.usefixtures("little_room")
ENDS = {"tokens": range(1, 101), "chunks": [7, 40, 41, 90, 100], "at once": [100]}


# Exact


@pytest.mark.parametrize(("shape", "ends", "rotated"), a_few(pairs(SHAPES, ENDS, HELD), 5))
@torch.no_grad()
def test_the_logits_are_those_of_a_cache_that_holds_everything(shaped, shape, ends, rotated):
    model = shaped(shape)
    close(read(model, IDS, ends, small(model, rotated=rotated)), model(IDS).logits)


@pytest.mark.parametrize(("shape", "spans", "rotated"), a_few(pairs(SHAPES, MASKS, HELD), 5))
@torch.no_grad()
def test_padding_changes_no_logit(shaped, shape, spans, rotated):
    model = shaped(shape)
    ids, mask = torch.zeros(2, 106, dtype=torch.int64), torch.zeros(2, 106, dtype=torch.int64)
    for row, (start, end) in enumerate(spans):
        tokens = IDS[row].repeat(2)[: end - start]
        ids[row, start:end], mask[row, start:end] = tokens, 1
    ends = [5, 37, 38, 39, 60, *range(90, 107)]
    full = read(model, ids, ends, DynamicCache(), mask)
    close(read(model, ids, ends, small(model, rotated=rotated), mask)[mask.bool()], full[mask.bool()])


@pytest.mark.parametrize(("method", "rotated"), pairs(["dynamic_ntk", "clex", "log_n", "dynamic_yarn"], HELD, meets=1))
@torch.no_grad()
def test_factors_go_by_the_tokens_that_were_read_and_not_by_those_that_are_held(shaped, method, rotated):
    model = shaped(SHAPES["limit as the window"], method)
    ends = [20, 45, 46, 70, *range(90, 101)]
    close(read(model, IDS, ends, small(model, rotated=rotated)), read(model, IDS, ends, DynamicCache()))


@pytest.mark.parametrize(
    ("family", "rotated"), pairs(["mistral", "qwen2", "stablelm", "smollm3", "glm"], HELD, meets=1)
)
@torch.no_grad()
def test_a_native_window_ends_what_a_layer_sees_of_the_held_keys_too(shaped, family, rotated):
    native = {"mistral": {"sliding_window": 20}}.get(family, {})
    model = shaped(SHAPES["no limit"], model_type=family, **native)
    close(read(model, IDS, [7, 40, *range(60, 101)], small(model, rotated=rotated)), model(IDS).logits)


@pytest.mark.parametrize(("at", "rotated"), pairs([10_000, 10_000_000], HELD, meets=1))
@torch.no_grad()
def test_a_token_far_into_a_stream_has_the_logits_it_has_near_its_start(shaped, at, rotated):
    model = shaped(SHAPES["limit as the window"], "lm_infinite", num_hidden_layers=1)
    near = read(model, IDS, range(1, 101), small(model, rotated=rotated))[:, -1]
    far = small(model, rotated=rotated)
    read(model, IDS, range(1, 100), far)
    held = far._held
    window = held.key_index >= 3
    if rotated:
        method = model.base_model.attached.method
        on = rotation_tables(angles(at * window.double(), method.scaling(torch.ones(1))), torch.ones(1))
        positions, *frequencies = far.rotation._by
        far.rotation._by = (positions + at * window, *frequencies)
        far.layers[0].keys = rotate(far.layers[0].keys, on)
    far._held = held._replace(key_index=held.key_index + at * window, lengths=held.lengths + at)
    close(model(IDS[:, 99:], past_key_values=far).logits[:, -1], near)


@pytest.mark.parametrize("trained", ["", "q_proj"], ids=["everything", "queries"])
def test_gradients_pass_through_what_is_held_as_through_a_cache_that_holds_everything(shaped, trained):
    gradients = []
    for kind in (WindowCache, lambda _: DynamicCache()):
        model = shaped(SHAPES["streaming"])
        for name, weight in model.named_parameters():
            weight.requires_grad_(trained in name)
        logits = read(model, IDS, [20, *range(30, 60)], kind(model.base_model.attached.method.pattern))
        logits.square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    close(*gradients)


def test_a_text_that_was_read_in_inference_mode_goes_on_outside_of_it(shaped):
    model = shaped(SHAPES["streaming"])
    cache = small(model)
    with torch.inference_mode():
        read(model, IDS[:, :50], [20, 40, *range(41, 51)], cache)
    with torch.no_grad():
        logits = [model(IDS[:, i : i + 1], past_key_values=cache).logits for i in range(50, 100)]
        close(torch.cat(logits, dim=1), model(IDS).logits[:, 50:])


# Small


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_no_layer_holds_more_than_sinks_a_window_and_a_little_room(shaped, shape):
    model, pattern = shaped(SHAPES[shape]), SHAPES[shape]
    cache, least = small(model), pattern.sink_tokens + pattern.window - 1
    for start, end in zip([0, 7, *range(40, 100)], [7, *range(40, 101)], strict=True):
        model(IDS[:, start:end], past_key_values=cache)
        for layer in cache.layers:
            assert layer.keys.shape == layer.values.shape
            assert layer.keys.shape[2] <= least + ROOM
            stored = max(x.untyped_storage().nbytes() for x in (layer.keys, layer.values))
            assert stored <= 2 * 2 * 16 * 4 * (max(least, 40) + ROOM), "a view holds all that it views"
    assert cache.get_seq_length() == TOKENS


@torch.no_grad()
def test_a_pass_far_into_a_stream_makes_nothing_of_the_length_of_the_stream(shaped, monkeypatch):
    model = shaped(SHAPES["limit as the window"], "lm_infinite")
    cache, sizes = small(model), []
    read(model, IDS, [50, 99], cache)
    cache._held = cache._held._replace(key_index=cache._held.key_index + 10**9, lengths=cache._held.lengths + 10**9)
    cache._held = cache._held._replace(slots=10**9)

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **kwargs or {})
            sizes.extend(x.numel() for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, torch.Tensor))
            return out

    with Sizes():
        model(IDS[:, 99:], past_key_values=cache)
    assert max(sizes) < 10_000


# Rows


@pytest.mark.parametrize("kind", ["banded", "banded and rotated", "every key"])
@torch.no_grad()
def test_rows_are_chosen_repeated_and_forgotten_with_their_padding(shaped, kind):
    model = shaped(Causal() if kind == "every key" else SHAPES["streaming"], "dynamic_ntk")
    mask = (torch.arange(TOKENS) >= torch.tensor([[0], [70]])).long()
    ours = every_key(model) if kind == "every key" else small(model, rotated=kind == "banded and rotated")
    caches = [ours, DynamicCache()]
    logits = []
    for cache in caches:
        read(model, IDS, [50, 80, 90], cache, mask)
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([3, 0, 1]))
        cache.reorder_cache(torch.tensor([1, 0, 2]))
        ids, rows = IDS[[0, 1, 0], 90:], mask[[0, 1, 0]]
        logits.append(model(ids, attention_mask=rows, past_key_values=cache).logits)
    close(*logits)
    caches[0].reset()
    assert caches[0].get_seq_length() == 0
    close(read(model, IDS, [40, 100], caches[0]), read(model, IDS, [40, 100], DynamicCache()))


# Refused


@pytest.mark.parametrize(
    "pattern",
    [
        Causal(),
        Capped(distance_limit=8),
        SelfExtend(window=8, group=4),
        LambdaTopK(window=8, sink_tokens=2, distance_limit=8, middle_tokens=2, middle_distance=4, first_layer=0),
    ],
    ids=lambda pattern: type(pattern).__name__,
)
def test_a_pattern_that_sees_any_earlier_token_is_refused_by_name(pattern):
    with pytest.raises(ValueError, match=f"{type(pattern).__name__} sees any earlier token.*DynamicCache"):
        WindowCache(pattern)


@pytest.mark.parametrize(
    "pattern",
    [Causal(), Lambda(window=17, sink_tokens=3, distance_limit=4), Lambda(window=16, sink_tokens=4, distance_limit=4)],
)
def test_a_cache_that_holds_less_than_the_pattern_sees_is_refused(shaped, pattern):
    model = shaped(pattern)
    cache = WindowCache(SHAPES["no limit"])
    with pytest.raises(ValueError, match=f"3 sink tokens and a window of 16, but {type(pattern).__name__} sees more"):
        model(IDS, past_key_values=cache)


@torch.no_grad()
def test_a_cache_that_holds_more_than_the_pattern_sees_serves_it(shaped):
    model = shaped(Lambda(window=9, sink_tokens=2, distance_limit=5))
    close(read(model, IDS, [40, 70, 71, 100], WindowCache(SHAPES["no limit"])), model(IDS).logits)


@torch.no_grad()
def test_a_model_without_a_method_is_refused(tiny):
    with pytest.raises(ValueError, match="filled by passes of a model with a method"):
        tiny()(IDS, past_key_values=WindowCache(SHAPES["window"]))


@torch.no_grad()
def test_a_pass_that_was_refused_leaves_the_cache_as_it_was(extended):
    model = extended(["clex", "lm_infinite"])
    cache = small(model)
    read(model, IDS, [50], cache)
    with pytest.raises(ValueError, match="max_factor is 4"):
        model(IDS.repeat(1, 2), past_key_values=cache)
    close(model(IDS[:, 50:], past_key_values=cache).logits[:, -1], read(model, IDS, [50, 100], small(model))[:, -1])


@torch.no_grad()
def test_a_mask_of_a_part_of_the_text_is_refused(shaped):
    model = shaped(SHAPES["window"])
    cache = small(model)
    read(model, IDS, [50], cache)
    with pytest.raises(ValueError, match="mask is of 50 tokens, and there are 100"):
        model(IDS[:, 50:], attention_mask=torch.ones(2, 50), past_key_values=cache)


def test_the_last_tokens_of_a_small_cache_are_not_forgotten():
    with pytest.raises(ValueError, match="DynamicCache"):
        WindowCache(SHAPES["window"]).crop(-1)


def test_the_smallest_cache_of_every_method_is_small_if_no_query_sees_all(any_method, extended):
    small_ones = {"lm_infinite", "lambda_only", "window_only", "streaming_llm"}
    small_ones |= {"clex_lm_infinite", "pi_lm_infinite", "yarn_lm_infinite"}
    assert isinstance(smallest_cache(extended(any_method)), WindowCache) == (any_method in small_ones)
