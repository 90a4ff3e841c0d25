"""The fast implementations of attention are the reference, and the reference is the definition."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcx_lightning.attention import banded
from lcx_lightning.attention.attend import attend
from lcx_lightning.attention.banded import attend_banded
from lcx_lightning.attention.dense import attend_dense, is_dense
from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.attention.rope import Rope, rotate
from lcx_lightning.patterns.capped import Capped
from lcx_lightning.patterns.causal import Causal
from lcx_lightning.patterns.lambda_mask import Lambda

INV_FREQ = torch.tensor([1.0, 0.3, 0.02])  # 6 of 8 features rotate
DIM, SCALE = 8, 0.4
PATTERNS = {
    "causal": Causal(),
    "lambda": Lambda(window=5, sink_tokens=2, distance_limit=5),
    "lambda, limit below the window": Lambda(window=7, sink_tokens=3, distance_limit=4),
    "lambda, limit beyond the window": Lambda(window=3, sink_tokens=2, distance_limit=9),
    "lambda, many sinks": Lambda(window=2, sink_tokens=12, distance_limit=4),
    "lambda without limit": Lambda(window=4, sink_tokens=1, distance_limit=None),
    "window": Lambda(window=4, sink_tokens=0, distance_limit=None),
    "window of one": Lambda(window=1, sink_tokens=0, distance_limit=None),
    "capped": Capped(distance_limit=4),
}


def padded(rows, keys, side):
    """Return a mask of valid keys, row r with 2 r + 1 of them padding, or all valid."""
    at, pad = torch.arange(keys), 2 * torch.arange(rows)[:, None] + 1
    if side == "none":
        return torch.ones(1, keys, dtype=torch.bool)
    return at >= pad if side == "left" else at < keys - pad


def rope_of(pattern, valid, queries, *, logit_scale=False, own_rows=False, stretch=1.0):
    """Return a rope whose positions are `stretch` times the indices and whose rows, if their own, differ."""
    index = (valid.cumsum(dim=-1) - 1).clamp(min=0)
    rows = len(valid)
    factor = 1 + torch.arange(rows) if own_rows else torch.ones(1)
    return Rope(
        index=index,
        positions=index.double() * stretch,
        valid=valid,
        queries=queries,
        inv_freq=INV_FREQ / factor[:, None],
        feature_scale=1 + 0.1 * factor.double(),
        logit_scale=1 + 0.05 * index[:, -queries:].float() if logit_scale else None,
        bands=pattern.bands(),
    )


def inputs(batch, heads, groups, queries, keys, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, heads, queries, DIM), (batch, groups, keys, DIM), (batch, groups, keys, DIM)]
    return [torch.randn(size, generator=generator).requires_grad_() for size in sizes]


def result(implementation, qkv, rope):
    """Return the output and the gradients of q, k and v, both of valid queries only."""
    out = implementation(*qkv, rope, SCALE)
    valid = rope.key_valid[:, -out.shape[2] :][:, None, :, None].expand_as(out)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out[valid], *torch.autograd.grad((out * weight)[valid].sum(), qkv)]


def assert_same(implementation, qkv, rope):
    for actual, wanted in zip(result(implementation, qkv, rope), result(attend_reference, qkv, rope), strict=True):
        assert actual.isfinite().all()
        torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def definition(q, k, v, *, sees, distance, valid, inv_freq, feature_scale, logit_scale, queries):
    """Return attention from its definition, one number at a time, in Python's complex numbers."""
    batch, heads, _, dim = q.shape
    groups, keys, pairs = k.shape[1], k.shape[2], len(inv_freq)
    out = torch.zeros(batch, heads, queries, dim, dtype=torch.float64)
    q, k, v = (x.detach().double() for x in (q, k, v))
    for b in range(batch):
        place = [sum(valid[b][: j + 1].tolist()) - 1 for j in range(keys)]
        for h in range(heads):
            g = h * groups // heads
            for i in range(queries):
                slot, logits = keys - queries + i, {}
                for j in range(keys):
                    if not valid[b, j] or not valid[b, slot] or not sees(place[slot], place[j]):
                        continue
                    x, y = q[b, h, i].tolist(), k[b, g, j].tolist()
                    d = distance(place[slot], place[j])
                    logit = sum(x[m] * y[m] for m in range(2 * pairs, dim))
                    for m, theta in enumerate(inv_freq):
                        a, c = complex(x[m], x[m + pairs]), complex(y[m], y[m + pairs])
                        logit += feature_scale**2 * (a * c.conjugate() * cmath.exp(1j * theta * d)).real
                    logits[j] = math.exp(SCALE * logit_scale(place[slot]) * logit)
                total = sum(logits.values())
                for j, weight in logits.items():
                    out[b, h, i] += weight / total * v[b, g, j]
    return out


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize(
    ("pattern", "sees", "distance"),
    [
        (Causal(), lambda q, k: k <= q, lambda q, k: 1.5 * (q - k)),
        (
            Lambda(window=3, sink_tokens=2, distance_limit=3),
            lambda q, k: k <= q and (q - k < 3 or k < 2),
            lambda q, k: min(q - k, 3),
        ),
        (Capped(distance_limit=2), lambda q, k: k <= q, lambda q, k: min(q - k, 2)),
    ],
    ids=["causal", "lambda", "capped"],
)
def test_the_reference_is_the_definition(pattern, sees, distance, side):
    stretch = 1.5 if isinstance(pattern, Causal) else 1.0
    valid, queries = padded(2, 9, side), 6
    q, k, v = inputs(2, 4, 2, queries, 9)
    rope = rope_of(pattern, valid, queries, logit_scale=True, stretch=stretch)
    wanted = definition(
        q,
        k,
        v,
        sees=sees,
        distance=distance,
        valid=valid.expand(2, -1),
        inv_freq=INV_FREQ.tolist(),
        feature_scale=1.1,
        logit_scale=lambda place: 1 + 0.05 * place,
        queries=queries,
    )
    seen = valid.expand(2, -1)[:, -queries:]
    actual = attend_reference(q, k, v, rope, SCALE).double()
    torch.testing.assert_close(actual.transpose(1, 2)[seen], wanted.transpose(1, 2)[seen], atol=1e-6, rtol=1e-5)


shapes = st.fixed_dictionaries(
    {
        "groups": st.sampled_from([1, 2, 4]),
        "keys": st.integers(8, 24),
        "chunk": st.sampled_from([1, 3, 24]),
        "side": st.sampled_from(["none", "left", "right"]),
        "logit_scale": st.booleans(),
        "own_rows": st.booleans(),
        "seed": st.integers(0, 1000),
    }
)


def drawn(pattern, shape):
    keys, queries = shape["keys"], min(shape["chunk"], shape["keys"])
    valid = padded(3, keys, shape["side"])
    rope = rope_of(pattern, valid, queries, logit_scale=shape["logit_scale"], own_rows=shape["own_rows"])
    return inputs(3, 4, shape["groups"], queries, keys, shape["seed"]), rope


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@settings(max_examples=12)
@given(shape=shapes, block=st.integers(1, 9))
def test_banded_attention_is_the_reference_and_so_are_its_gradients(pattern, shape, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banded, "QUERY_BLOCK", block)
        assert_same(attend_banded, *drawn(pattern, shape))


@settings(max_examples=40)
@given(shape=shapes)
def test_dense_attention_is_the_reference_and_so_are_its_gradients(shape):
    assert_same(attend_dense, *drawn(Causal(), shape))


@pytest.mark.parametrize("side", ["none", "left"])
def test_every_pattern_of_the_method_folder_attends_as_the_reference(any_pattern, side):
    rope = rope_of(any_pattern, padded(2, 300, side), 300)
    assert_same(attend, inputs(2, 4, 2, 300, 300), rope)


@pytest.mark.parametrize("implementation", [attend_dense, attend_banded, attend_reference])
def test_a_query_on_padding_yields_numbers_and_no_nan_gradient(implementation):
    qkv = inputs(2, 2, 2, 6, 6)
    out = implementation(*qkv, rope_of(Causal(), padded(2, 6, "left"), 6), SCALE)
    assert out.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), qkv))


def test_only_plain_causal_attention_is_dense():
    assert {name for name, pattern in PATTERNS.items() if is_dense(pattern.bands())} == {"causal"}


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
