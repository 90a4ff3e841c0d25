"""The fast implementations of attention are the reference, and read no more than they must."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.attention_inputs import (
    DIM,
    INV_FREQ,
    PATTERNS,
    SCALE,
    SIDES,
    assert_same,
    dispatched,
    drawn,
    inputs,
    padded,
    result,
    rope_of,
    shapes,
)
from support.method_parts import offered
from support.pairs import pairs
from support.position_inputs import sampled
from support.property_tests import examples

from lcx_lightning.attention.backends import blocks, flash_bands, tiling
from lcx_lightning.attention.backends.blocks import attend_blocks
from lcx_lightning.attention.backends.dense import attend_dense, is_dense
from lcx_lightning.attention.backends.flash_bands import attend_flash_bands
from lcx_lightning.attention.dispatch import BACKENDS, attend, backend_of, supported_backends
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.patterns.streaming_llm import StreamingLLM
from lcx_lightning.methods.rope import Rope, Tables


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@examples(12)
@given(shape=shapes, block=st.integers(1, 9))
def test_banded_attention_is_the_reference_and_so_are_its_gradients(pattern, shape, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "QUERY_BLOCK", block)
        assert_same(attend_blocks, *drawn(pattern, shape))


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@examples(20)
@given(shape=shapes, block=st.integers(1, 9), blocks=st.integers(1, 3))
def test_the_kernel_on_each_band_is_the_reference_and_so_are_its_gradients(pattern, shape, block, blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "BLOCK", block)
        patch.setattr(tiling, "QUERIES_PER_TILE", block * blocks)
        patch.setattr(tiling, "QUERIES_PER_WIDE_TILE", block * blocks)
        assert_same(attend_flash_bands, *drawn(pattern, shape))


@pytest.mark.parametrize(
    ("side", "pattern"),
    pairs(
        ["none", "left", "inside"],
        {
            "lambda": Lambda(window=700, sink_tokens=600, distance_limit=650),
            "self-extend": SelfExtend(window=150, group=3),
        },
        meets=1,
    ),
)
def test_the_kernel_on_each_band_is_the_reference_where_it_splits_the_keys(pattern, side):
    """Of 512 keys at a time it may see none, first or last."""
    tokens = 1500
    pad = torch.tensor([[0], [700]])
    at = torch.arange(tokens)
    valid = {"none": at >= 0, "left": at >= pad, "inside": (at < 3) | (at >= 3 + pad)}[side].expand(2, -1)
    assert_same(attend_flash_bands, inputs(2, 2, 1, tokens, tokens), rope_of(pattern, valid, tokens))


@pytest.mark.parametrize(("pattern", "dtype"), pairs(PATTERNS, [torch.bfloat16, torch.float16], meets=1))
def test_every_implementation_is_as_exact_as_the_dtype(pattern, dtype, monkeypatch):
    monkeypatch.setattr(tiling, "BLOCK", 7)
    rope = rope_of(pattern, padded(2, 40, "left"), 40)
    rounded = [x.detach().to(dtype).requires_grad_() for x in inputs(2, 4, 2, 40, 40)]
    wanted = result(attend_reference, [x.detach().float().requires_grad_() for x in rounded], rope)
    for name in supported_backends(rope.bands, "cpu"):
        for ours, theirs in zip(result(BACKENDS[name], rounded, rope), wanted, strict=True):
            assert ours.dtype == dtype
            zero = 1e-5  # a window of one has no gradient of queries and keys: what is left is rounding
            assert (ours - theirs).norm() < torch.finfo(dtype).eps * theirs.norm() + zero


def test_gradients_reach_the_frequencies_through_every_band():
    def gradient(implementation, inv_freq):
        index = torch.arange(300)[None]
        rope = Rope(
            index=index,
            positions=index.double(),
            valid=torch.ones_like(index, dtype=torch.bool),
            queries=300,
            inv_freq=inv_freq,
            feature_scale=torch.ones(1),
            logit_scale=None,
            bands=Lambda(window=20, sink_tokens=4, distance_limit=60).bands(),
        )
        out = implementation(*(x.detach() for x in inputs(1, 2, 2, 300, 300)), rope, SCALE)
        return torch.autograd.grad(out.square().sum(), inv_freq)[0]

    inv_freq = INV_FREQ[None].double().requires_grad_()
    wanted = gradient(attend_reference, inv_freq)
    torch.testing.assert_close(gradient(attend_flash_bands, inv_freq), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["lambda", "self-extend"])
def test_the_gradients_are_those_of_finite_differences(name, monkeypatch):
    monkeypatch.setattr(tiling, "BLOCK", 4)
    rope = rope_of(PATTERNS[name], padded(1, 12, "none"), 12)
    rope.key_tables, rope.query_tables = (
        [Tables(table.cos.double(), table.sin.double()) for table in tables]
        for tables in (rope.key_tables, rope.query_tables)
    )
    qkv = [x.detach().double().requires_grad_() for x in inputs(1, 2, 1, 12, 12)]
    monkeypatch.setattr("lcx_lightning.attention.backends.tiling.rotate", rotate_exactly)
    assert torch.autograd.gradcheck(lambda *qkv: attend_flash_bands(*qkv, rope, SCALE), qkv)


def rotate_exactly(x, tables):
    """Return what `rotate` does, in float64."""
    cos, sin = tables.cos[:, None], tables.sin[:, None]
    a, b, rest = x.split([3, 3, 2], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


def test_values_may_lie_in_memory_as_they_like():
    q, k, v = inputs(1, 2, 2, 300, 300)
    turned = v.detach().mT.contiguous().mT.requires_grad_()
    rope = rope_of(PATTERNS["lambda"], padded(1, 300, "none"), 300)
    assert turned.stride() != v.stride()
    for actual, wanted in zip(
        result(attend_flash_bands, [q, k, turned], rope), result(attend_flash_bands, [q, k, v], rope), strict=True
    ):
        torch.testing.assert_close(actual, wanted)


@examples(40)
@given(shape=shapes)
def test_dense_attention_is_the_reference_and_so_are_its_gradients(shape):
    assert_same(attend_dense, *drawn(Causal(), shape))


@pytest.mark.parametrize(
    ("any_pattern", "side", "consecutive"),
    pairs(offered("pattern"), ["none", "left"], {"consecutive": True, "sampled": False}),
    indirect=["any_pattern"],
)
def test_every_pattern_of_the_method_folder_attends_as_the_reference(any_pattern, side, consecutive):
    rope = rope_of(any_pattern, padded(2, 300, side), 300, positions=None if consecutive else sampled(300, 0))
    rope.selection = None
    assert_same(dispatched, inputs(2, 4, 2, 300, 300), rope)


@pytest.mark.parametrize(
    ("implementation", "pattern", "side", "consecutive"),
    pairs(
        {"blocks": attend_blocks, "flash_bands": attend_flash_bands},
        {
            "lambda": Lambda(window=64, sink_tokens=4, distance_limit=64),
            "lambda, limit below the window": Lambda(window=64, sink_tokens=4, distance_limit=32),
            "window": Lambda(window=64, sink_tokens=0, distance_limit=None),
            "streaming": StreamingLLM(window=60, sink_tokens=4),
        },
        SIDES,
        {"consecutive": True, "sampled": False},
        meets=3,
    ),
)
def test_a_window_reads_as_many_keys_of_a_long_text_as_it_and_a_block_are_long(
    implementation, pattern, side, consecutive, monkeypatch
):
    read, multiply, kernel, tokens = [], blocks.matmul_grouped, flash_bands.flash, 2048

    def watched(x, y):
        read.append(x.shape[2] * y.shape[3] if x.shape[3] == DIM else 0)
        return multiply(x, y)

    def watched_kernel(q, k, *args, **options):
        read.append(q.shape[0] * q.shape[2] * k.shape[2])
        return kernel(q, k, *args, **options)

    monkeypatch.setattr(blocks, "matmul_grouped", watched)
    rope = rope_of(pattern, padded(3, tokens, side), tokens, positions=None if consecutive else sampled(tokens, 0))
    monkeypatch.setattr(flash_bands, "flash", watched_kernel)
    implementation(*inputs(3, 1, 1, tokens, tokens), rope, SCALE)
    most_padding = 5
    rotations = 1 if consecutive and pattern.bands()[0].max_apart is None else 2  # a pair may be in either band
    each = 64 + 4 + blocks.QUERY_BLOCK + 2 * most_padding
    if implementation is attend_flash_bands:
        rotations = 3 * len(pattern.bands())  # it reads row by row, and each band for itself
    assert tokens * 64 < sum(read) <= tokens * each * rotations


@pytest.mark.parametrize("implementation", [attend_dense, attend_blocks, attend_flash_bands, attend_reference])
def test_a_query_on_padding_yields_numbers_and_no_nan_gradient(implementation):
    qkv = inputs(2, 2, 2, 6, 6)
    out = implementation(*qkv, rope_of(Causal(), padded(2, 6, "left"), 6), SCALE)
    assert out.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), qkv))


def test_only_plain_causal_attention_is_dense():
    assert {name for name, pattern in PATTERNS.items() if is_dense(pattern.bands())} == {"causal"}


@pytest.mark.parametrize("queries", [1, 30])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_the_implementation_that_is_named_is_the_one_that_attends(pattern, queries, monkeypatch):
    rope, used = rope_of(pattern, padded(1, 30, "none"), queries), []
    for name, implementation in BACKENDS.items():

        def watched(*args, name=name, implementation=implementation):
            used.append(name)
            return implementation(*args)

        monkeypatch.setitem(BACKENDS, name, watched)
    attend(*inputs(1, 1, 1, queries, 30), ForwardPass(rope), SCALE)
    banded_by = "blocks" if queries == 1 else "flash_bands"
    assert used == [backend_of(ForwardPass(rope))] == ["dense" if is_dense(rope.bands) else banded_by]
