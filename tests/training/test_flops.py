"""FLOPs of a text against torch's own counter, and pairs against a brute force."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.training.flops import STEP, forward_flops, matrix_parameters, visible_pairs

TOKENS = 24
SQUARE = TOKENS * TOKENS - TOKENS * (TOKENS + 1) // 2  # pairs that eager attention computes and hides


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("llama", {}), ("llama", {"tie_word_embeddings": True}), ("gpt_neox", {}), ("qwen3", {}), ("mixtral", {})],
)
def test_a_step_has_the_flops_that_torch_counts(tiny, model_type, changes):
    model = tiny(model_type, **changes)
    config = model.config
    if model_type == "mixtral":
        model.set_experts_implementation("eager")  # products of groups are not counted
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    hidden_pairs = 4 * config.num_attention_heads * head_dim * config.num_hidden_layers * SQUARE
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.arange(1, TOKENS + 1)[None], use_cache=False).logits
    # the angles of the stock rotary embedding are a product too, of 2 dim / 2 FLOPs a token
    assert forward_flops(model, Causal(), TOKENS) + hidden_pairs == pytest.approx(counter.get_total_flops(), rel=2e-3)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    step = STEP * (forward_flops(model, Causal(), TOKENS) + hidden_pairs)
    assert step == pytest.approx(counter.get_total_flops() + backward.get_total_flops(), rel=2e-3)


def test_embeddings_are_looked_up_and_the_parameters_of_a_method_are_no_matrices(tiny, extended):
    stock, tied = tiny(), tiny(tie_word_embeddings=True)
    assert matrix_parameters(stock) == matrix_parameters(tied) == matrix_parameters(extended("clex"))
    norms = sum(p.numel() for p in stock.parameters() if p.ndim == 1)
    assert matrix_parameters(stock) == sum(p.numel() for p in stock.parameters()) - norms - 64 * 64


@pytest.mark.parametrize("tokens", [1, 7, 50])
@pytest.mark.parametrize("window", [None, 5])
def test_the_pairs_of_a_pattern_are_those_that_a_query_sees_of_each_key(any_pattern, tokens, window):
    query, key = torch.arange(tokens)[:, None], torch.arange(tokens)
    held = torch.stack([band.visible(query, key) for band in any_pattern.bands()]).any(dim=0) & (key <= query)
    near = query - key < (tokens if window is None else window)
    assert visible_pairs(any_pattern.bands(), tokens, window) == (held & near).sum()


def test_dense_attention_sees_half_of_the_square_and_lambda_a_strip_and_the_sinks(tiny):
    assert visible_pairs([Band()], 1000) == 1000 * 1001 // 2
    window, sinks, tokens = 16, 4, 1000
    strip = window * (window + 1) // 2 + (tokens - window) * window
    beside = sum(min(sinks, query - window + 1) for query in range(window, tokens))
    pattern = Lambda(window=window, sink_tokens=sinks, distance_limit=window)
    assert visible_pairs(pattern.bands(), tokens) == strip + beside
    model = tiny()
    dense, banded = (forward_flops(model, p, tokens) for p in (Causal(), pattern))
    assert dense - banded == 4 * 64 * 2 * (1000 * 1001 // 2 - strip - beside)  # 4 features of all heads, 2 layers


def test_a_native_window_counts_in_the_layers_that_have_it(tiny):
    mixed = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True}
    model = tiny("qwen2", **mixed)
    whole = tiny("qwen2")
    saved = TOKENS * (TOKENS + 1) // 2 - visible_pairs([Band(max_distance=8)], TOKENS)
    assert forward_flops(whole, Causal(), TOKENS) - forward_flops(model, Causal(), TOKENS) == 4 * 64 * saved
