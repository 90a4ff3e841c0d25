"""Who sees whom goes by index, rotation by position, with exact angles."""

import cmath
import math

import pytest
import torch
from support.attention_inputs import DIM, INV_FREQ, PATTERNS, SCALE, inputs, padded, rope_of

from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.rope import Rope


def test_who_sees_whom_goes_by_index_and_rotation_by_position():
    stretched = rope_of(PATTERNS["window"], padded(1, 12, "none"), 12, stretch=7.0)
    for band in stretched.bands:
        seen = band.visible(stretched.query_index[0, :, None], stretched.key_index[0, None, :])
        assert seen.sum(dim=-1).tolist() == [1, 2, 3, *[4] * 9]
    qkv = inputs(1, 2, 2, 12, 12)
    slower = rope_of(PATTERNS["window"], padded(1, 12, "none"), 12)
    slower.inv_freq = slower.inv_freq * 7
    slower.key_tables = slower.query_tables = [slower.tables(slower.key_pos)]
    torch.testing.assert_close(
        attend_reference(*qkv, stretched, SCALE), attend_reference(*qkv, slower, SCALE), atol=1e-5, rtol=1e-5
    )


def test_angles_are_exact_at_position_ten_million():
    at = torch.tensor([[9_999_999.0, 10_000_000.0, 10_000_000.25]], dtype=torch.float64)
    rope = Rope(
        index=torch.arange(3)[None],
        positions=at,
        valid=torch.ones(1, 3, dtype=torch.bool),
        queries=3,
        inv_freq=torch.tensor([[1.0, 0.25]]),
        feature_scale=torch.ones(1),
        logit_scale=None,
        bands=Causal().bands(),
    )
    wanted = torch.tensor([[math.cos(p * f) for f in (1.0, 0.25)] for p in at[0].tolist()])
    torch.testing.assert_close(rope.key_tables[0].cos[0], wanted, atol=1e-7, rtol=0)


def test_rotation_turns_pairs_half_a_head_apart_and_leaves_the_rest():
    rope = rope_of(Causal(), padded(1, 4, "none"), 4)
    x = torch.randn(1, 1, 4, DIM, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, rope.key_tables[0])
    for m, theta in enumerate(INV_FREQ.tolist()):
        for p in range(4):
            z = complex(x[0, 0, p, m], x[0, 0, p, m + 3]) * cmath.exp(1j * theta * p) * 1.1
            assert complex(turned[0, 0, p, m], turned[0, 0, p, m + 3]) == pytest.approx(z, abs=1e-5)
    assert torch.equal(turned[..., 6:], x[..., 6:])


def test_rotation_keeps_the_dtype_of_the_model():
    rope = rope_of(Causal(), padded(1, 4, "none"), 4)
    assert rotate(torch.ones(1, 1, 4, DIM, dtype=torch.bfloat16), rope.key_tables[0]).dtype == torch.bfloat16
