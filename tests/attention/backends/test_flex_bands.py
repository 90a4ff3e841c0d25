"""FlexAttention on each band is the reference, and skips no block of keys that a query can see."""

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.attention_inputs import PATTERNS, SIDES, assert_same, drawn, inputs, padded, rope_of, shapes
from support.position_inputs import sampled
from support.property_tests import examples
from torch.nn.attention import flex_attention as torch_flex

from lcx_lightning.attention.backends import flex_bands
from lcx_lightning.attention.backends.flex_bands import attend_flex_bands, block_mask
from lcx_lightning.attention.dispatch import check_backend
from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.self_extend import SelfExtend

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),  # of the test that compiles it
    pytest.mark.filterwarnings("ignore:The .grad attribute"),  # by the compiler, of what it looks into
]


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Torch runs the definition of FlexAttention as it stands: compiling it takes seconds for every shape."""
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@examples(2)
@given(shape=shapes)
def test_flex_attention_on_each_band_is_the_reference(pattern, shape):
    made, rope = drawn(pattern, shape)
    qkv = [x.detach() for x in made]
    valid = rope.key_valid[:, -qkv[0].shape[2] :][:, None, :, None].expand_as(qkv[0])
    actual, wanted = attend_flex_bands(*qkv, rope, 0.4), attend_reference(*qkv, rope, 0.4)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual[valid], wanted[valid], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pattern", ["lambda, many sinks", "self-extend"])
def test_its_gradients_are_those_of_the_reference_where_torch_has_them(pattern, monkeypatch):
    """Torch refuses gradients on CPU, where it has those of its unfused attention: that of the log-sum-exp too."""
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", False)  # gradients need the compiler
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which cannot follow checks at run time
    torch._dynamo.reset()
    rope = rope_of(PATTERNS[pattern], padded(2, 30, "left"), 30, logit_scale=True, positions=sampled(30, 0))
    assert_same(attend_flex_bands, inputs(2, 4, 2, 30, 30), rope)


def test_queries_of_a_row_of_padding_see_nothing_and_yield_0():
    qkv, valid = [x.detach() for x in inputs(2, 2, 2, 6, 6)], torch.tensor([[False] * 6, [True] * 6])
    for name in ("causal", "lambda"):
        out = attend_flex_bands(*qkv, rope_of(PATTERNS[name], valid, 6), 0.4)
        assert out[0].abs().max() == 0
        assert out.isfinite().all()


@examples(40)
@given(
    pattern=st.sampled_from([*PATTERNS.values(), Lambda(window=50, sink_tokens=30, distance_limit=20)]),
    side=st.sampled_from(SIDES),
    queries=st.sampled_from([1, 20, 61, 90]),
    consecutive=st.booleans(),
)
def test_no_block_is_skipped_that_has_a_pair(pattern, side, queries, consecutive):
    """Unfused attention reads all blocks, so that its results do not show it."""
    keys, size = 90, 8
    rope = rope_of(pattern, padded(3, keys, side), queries, positions=None if consecutive else sampled(keys, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex_bands, "BLOCK", size)
        for band in rope.bands:
            read = block_mask(rope, band).to_dense()[0, 0].bool()
            held = band.visible(
                rope.query_index[:, :, None],
                rope.key_index[:, None, :],
                rope.query_pos[:, :, None],
                rope.key_pos[:, None, :],
            )
            held = held & rope.key_valid[:, None, :] & rope.key_valid[:, -queries:, None]
            rest = (0, -keys % size, 0, -queries % size)
            blocks = torch.nn.functional.pad(held.any(dim=0), rest).unfold(0, size, size).unfold(1, size, size)
            assert not (blocks.any(dim=(-1, -2)) & ~read).any()


def test_the_blocks_that_are_read_grow_with_the_window_and_not_with_the_text():
    rope = rope_of(Lambda(window=256, sink_tokens=4, distance_limit=None), padded(1, 8192, "none"), 8192)
    near, far = (block_mask(rope, band).kv_num_blocks[0, 0].tolist() for band in rope.bands)
    assert near == [1, 2, *[3] * 62]
    assert max(far) == 1
    assert sum(far) == 62


@pytest.mark.parametrize("pattern", [Capped(distance_limit=150), SelfExtend(window=150, group=3)])
def test_several_blocks_of_queries_and_keys_are_the_reference(pattern):
    qkv, rope = [x.detach() for x in inputs(1, 2, 1, 300, 400)], rope_of(pattern, padded(1, 400, "none"), 300)
    torch.testing.assert_close(
        attend_flex_bands(*qkv, rope, 0.4), attend_reference(*qkv, rope, 0.4), atol=1e-5, rtol=1e-5
    )


def test_it_is_refused_on_cpu():
    with pytest.raises(ValueError, match="by flex_bands on cpu: it runs on CUDA"):
        check_backend("flex_bands", Lambda(window=5, sink_tokens=2, distance_limit=None).bands(), "cpu")
