"""The keys of the middle that queries choose: by which queries, in which layers, and their gradients."""

import pytest
import torch
from support.attention_inputs import SCALE, inputs, padded, rope_of

from lcx_lightning.attention.backends.blocks import attend_blocks
from lcx_lightning.attention.dispatch import attend
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.methods.patterns.lambda_top_k import LambdaTopK


def test_a_text_that_ended_before_the_chunk_keeps_what_it_read():
    """The first row has its last token among the queries, the second one ended in an earlier chunk."""
    pattern = LambdaTopK(window=2, sink_tokens=1, distance_limit=2, middle_tokens=2, middle_distance=2, first_layer=0.0)
    valid = torch.arange(12) < torch.tensor([[11], [6]])
    qkv, rope = inputs(2, 4, 2, 4, 12), rope_of(pattern, valid, 4)
    changed = (attend(*qkv, ForwardPass(rope), SCALE) - attend_blocks(*qkv, rope, SCALE)).abs().amax(dim=(1, 3)) > 1e-4
    assert changed.tolist() == [[False, False, True, False], [False] * 4]


@pytest.mark.parametrize(
    ("first_layer", "layers", "first"), [(0.125, 32, 4), (0.125, 4, 0), (0.15625, 32, 5), (0.5, 1, 0)]
)
def test_layers_choose_from_a_share_of_the_depth_on(first_layer, layers, first):
    pattern = LambdaTopK(
        window=2, sink_tokens=1, distance_limit=2, middle_tokens=2, middle_distance=2, first_layer=first_layer
    )
    qkv, rope = inputs(1, 2, 2, 12, 12), rope_of(pattern, padded(1, 12, "none"), 12)
    without = attend_blocks(*qkv, rope, SCALE)
    chose = [not torch.equal(attend(*qkv, ForwardPass(rope), SCALE, (n + 1) / layers), without) for n in range(layers)]
    assert chose == [n >= first for n in range(layers)]


def test_the_gradient_reaches_the_chosen_keys_and_no_other_middle_one():
    pattern = LambdaTopK(window=3, sink_tokens=1, distance_limit=3, middle_tokens=2, middle_distance=2, first_layer=0.0)
    qkv = inputs(1, 1, 1, 1, 20)
    rope = rope_of(pattern, padded(1, 20, "none"), 1)
    _, k_gradient, v_gradient = torch.autograd.grad(attend(*qkv, ForwardPass(rope), SCALE).sum(), qkv)
    for gradient in (k_gradient, v_gradient):
        reached = gradient.abs().sum(dim=-1)[0, 0] > 0
        assert reached[[0, 17, 18, 19]].all()
        assert reached.sum() == 4 + 2
