"""The fast implementations of attention are the reference, and the reference is the definition."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcx_lightning.attention import banded, flash_bands, pieces
from lcx_lightning.attention.attend import IMPLEMENTATIONS, able, attend, implementation_of
from lcx_lightning.attention.banded import attend_banded
from lcx_lightning.attention.dense import attend_dense, is_dense
from lcx_lightning.attention.flash_bands import attend_flash_bands
from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.attention.rope import Rope, Tables, rotate
from lcx_lightning.patterns.capped import Capped
from lcx_lightning.patterns.causal import Causal
from lcx_lightning.patterns.lambda_mask import Lambda
from lcx_lightning.patterns.lambda_top_k import LambdaTopK
from lcx_lightning.patterns.leaky_rerope import LeakyReRoPE
from lcx_lightning.patterns.self_extend import SelfExtend
from lcx_lightning.patterns.streaming_llm import StreamingLLM

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
    "leaky": LeakyReRoPE(window=4, slowdown=2.5),
    "self-extend": SelfExtend(window=5, group=3),
    "streaming": StreamingLLM(window=4, sink_tokens=2),
    "streaming without sinks": StreamingLLM(window=4, sink_tokens=0),
}
SIDES = ["none", "left", "right", "both", "inside"]


def padded(rows, keys, side):
    """Return a mask of valid keys, row r with about 2 r + 1 of them padding, or all valid."""
    at, pad = torch.arange(keys), 2 * torch.arange(rows)[:, None] + 1
    return {
        "none": torch.ones(1, keys, dtype=torch.bool),
        "left": at >= pad,
        "right": at < keys - pad,
        "both": (at >= pad - pad // 2) & (at < keys - pad // 2),
        "inside": (at < 2) | (at >= 2 + pad),  # a prompt padded on its right, and what was generated after it
    }[side]


def sampled(tokens, seed):
    """Return increasing real positions, from 0 on, some less than 1 apart."""
    steps = 0.05 + 2.9 * torch.rand(tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return steps.cumsum(0) - steps[0]


def rope_of(pattern, valid, queries, *, logit_scale=False, own_rows=False, stretch=1.0, positions=None):
    """Return a rope whose positions are as given, or `stretch` times the indices, and whose rows may differ."""
    index = (valid.cumsum(dim=-1) - 1).clamp(min=0)
    rows = len(valid)
    factor = 1 + torch.arange(rows) if own_rows else torch.ones(1)
    return Rope(
        index=index,
        positions=index.double() * stretch if positions is None else positions[index],
        valid=valid,
        queries=queries,
        inv_freq=INV_FREQ / factor[:, None],
        feature_scale=1 + 0.1 * factor.double(),
        logit_scale=1 + 0.05 * index[:, -queries:].float() if logit_scale else None,
        bands=pattern.bands(),
        selection=pattern.selection(),
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


def definition(q, k, v, *, sees, distance, valid, inv_freq, feature_scale, logit_scale, queries, chooses=None):
    """Return attention from its definition, one number at a time, in Python's complex numbers.

    Args:
        chooses: Maps the logits of tokens that the last query of a row does not see, by a function from a token and
            its distance, to those it sees in addition.
    """
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
                if not valid[b, slot]:
                    continue

                def weight_at(j, d, b=b, h=h, i=i, g=g, slot=slot, place=place):
                    x, y = q[b, h, i].tolist(), k[b, g, j].tolist()
                    logit = sum(x[m] * y[m] for m in range(2 * pairs, dim))
                    for m, theta in enumerate(inv_freq):
                        a, c = complex(x[m], x[m + pairs]), complex(y[m], y[m + pairs])
                        logit += feature_scale**2 * (a * c.conjugate() * cmath.exp(1j * theta * d)).real
                    return math.exp(SCALE * logit_scale(place[slot]) * logit)

                past = [j for j in range(keys) if valid[b, j] and place[j] <= place[slot]]
                logits = {j: weight_at(j, distance(place[slot], place[j])) for j in past if sees(place[slot], place[j])}
                if chooses is not None and place[slot] == place[-1]:
                    logits |= chooses([j for j in past if j not in logits], weight_at)
                total = sum(logits.values())
                for j, weight in logits.items():
                    out[b, h, i] += weight / total * v[b, g, j]
    return out


def causal(p, w, s, c, g):
    return Causal(), lambda q, k: True, lambda q, k: p[q] - p[k]


def lambda_shape(p, w, s, c, g):
    """LM-Infinite: the last w tokens and the first s, no farther than c."""
    pattern = Lambda(window=w, sink_tokens=s, distance_limit=c)
    return pattern, lambda q, k: q - k < w or k < s, lambda q, k: min(p[q] - p[k], c)


def capped(p, w, s, c, g):
    """ReRoPE: no farther than the window."""
    return Capped(distance_limit=w), lambda q, k: True, lambda q, k: min(p[q] - p[k], w)


def leaky(p, w, s, c, g):
    """Leaky ReRoPE: w + (d - w) / g beyond the window."""
    pattern = LeakyReRoPE(window=w, slowdown=g)
    return pattern, lambda q, k: True, lambda q, k: p[q] - p[k] if q - k < w else w + (p[q] - p[k] - w) / g


def self_extend(p, w, s, c, g):
    """Self-Extend: floors of positions over g beyond the window, the query shifted by w - w // g."""
    pattern = SelfExtend(window=w, group=g)

    def distance(q, k):
        return p[q] - p[k] if q - k < w else math.floor(p[q] / g) + w - w // g - math.floor(p[k] / g)

    return pattern, lambda q, k: True, distance


def streaming(p, w, s, c, g):
    """StreamingLLM: positions end with the cache of s + w tokens."""
    pattern = StreamingLLM(window=w, sink_tokens=s)

    def distance(q, k):
        return p[q] - p[k] if q - k < w else min(p[q], s + w - 1) - min(p[k], s + w - 1)

    return pattern, lambda q, k: q - k < w or k < s, distance


def top_k(p, w, s, c, g):
    """LM-Infinite's shape, whose choice is tested apart."""
    sizes = {"window": w, "sink_tokens": s, "distance_limit": c}
    choice = {"middle_tokens": g, "middle_distance": c, "first_layer": 0.0}
    return LambdaTopK(**sizes, **choice), *lambda_shape(p, w, s, c, g)[1:]


sizes = st.fixed_dictionaries(
    {
        "w": st.integers(1, 8),
        "s": st.integers(0, 4),
        "c": st.integers(1, 10),
        "g": st.integers(1, 4),
    }
)


@pytest.mark.parametrize("write", [causal, lambda_shape, capped, leaky, self_extend, streaming, top_k])
@settings(max_examples=15)
@given(sizes=sizes, side=st.sampled_from(SIDES), consecutive=st.booleans(), seed=st.integers(0, 1000))
def test_attention_is_the_definition_of_the_paper(write, sizes, side, consecutive, seed):
    """Here g keys are chosen at distance c, those of the largest weights there, by the last query of each row."""
    valid, queries, keys = padded(2, 10, side), 5, 10
    positions = None if consecutive else sampled(keys, seed)
    p = list(range(keys)) if consecutive else positions.tolist()
    pattern, sees, distance = write(p, **sizes)
    q, k, v = inputs(2, 2, 1, queries, keys, seed)

    def chooses(hidden, weight_at):
        weights = {j: weight_at(j, sizes["c"]) for j in hidden}
        return {j: weights[j] for j in sorted(weights, key=weights.get, reverse=True)[: sizes["g"]]}

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
        chooses=chooses if write is top_k else None,
    )
    seen = valid.expand(2, -1)[:, -queries:]
    rope = rope_of(pattern, valid, queries, logit_scale=True, positions=positions)
    for implementation in (attend,) if write is top_k else (attend, attend_reference):
        actual = implementation(q, k, v, rope, SCALE).double()
        torch.testing.assert_close(actual.transpose(1, 2)[seen], wanted.transpose(1, 2)[seen], atol=1e-6, rtol=1e-5)


shapes = st.fixed_dictionaries(
    {
        "groups": st.sampled_from([1, 2, 4]),
        "keys": st.integers(8, 24),
        "chunk": st.sampled_from([1, 3, 24]),
        "side": st.sampled_from(SIDES),
        "consecutive": st.booleans(),
        "logit_scale": st.booleans(),
        "own_rows": st.booleans(),
        "seed": st.integers(0, 1000),
    }
)


def drawn(pattern, shape):
    keys, queries = shape["keys"], min(shape["chunk"], shape["keys"])
    valid = padded(3, keys, shape["side"])
    positions = None if shape["consecutive"] else sampled(keys, shape["seed"])
    options = {"logit_scale": shape["logit_scale"], "own_rows": shape["own_rows"]}
    rope = rope_of(pattern, valid, queries, **options, positions=positions)
    return inputs(3, 4, shape["groups"], queries, keys, shape["seed"]), rope


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@settings(max_examples=12)
@given(shape=shapes, block=st.integers(1, 9))
def test_banded_attention_is_the_reference_and_so_are_its_gradients(pattern, shape, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banded, "QUERY_BLOCK", block)
        assert_same(attend_banded, *drawn(pattern, shape))


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@settings(max_examples=20)
@given(shape=shapes, block=st.integers(1, 9), blocks=st.integers(1, 3))
def test_the_kernel_on_each_band_is_the_reference_and_so_are_its_gradients(pattern, shape, block, blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BLOCK", block)
        patch.setattr(pieces, "PIECE", block * blocks)
        patch.setattr(pieces, "WIDE_PIECE", block * blocks)
        assert_same(attend_flash_bands, *drawn(pattern, shape))


@pytest.mark.parametrize("side", ["none", "left", "inside"])
@pytest.mark.parametrize(
    "pattern",
    [Lambda(window=700, sink_tokens=600, distance_limit=650), SelfExtend(window=150, group=3)],
    ids=["lambda", "self-extend"],
)
def test_the_kernel_on_each_band_is_the_reference_where_it_splits_the_keys(pattern, side):
    """Of 512 keys at a time it may see none, first or last."""
    tokens = 1500
    pad = torch.tensor([[0], [700]])
    at = torch.arange(tokens)
    valid = {"none": at >= 0, "left": at >= pad, "inside": (at < 3) | (at >= 3 + pad)}[side].expand(2, -1)
    assert_same(attend_flash_bands, inputs(2, 2, 1, tokens, tokens), rope_of(pattern, valid, tokens))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_every_implementation_is_as_exact_as_the_dtype(pattern, dtype, monkeypatch):
    monkeypatch.setattr(pieces, "BLOCK", 7)
    rope = rope_of(pattern, padded(2, 40, "left"), 40)
    rounded = [x.detach().to(dtype).requires_grad_() for x in inputs(2, 4, 2, 40, 40)]
    wanted = result(attend_reference, [x.detach().float().requires_grad_() for x in rounded], rope)
    for name in able(rope.bands, "cpu"):
        for ours, theirs in zip(result(IMPLEMENTATIONS[name], rounded, rope), wanted, strict=True):
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
    monkeypatch.setattr(pieces, "BLOCK", 4)
    rope = rope_of(PATTERNS[name], padded(1, 12, "none"), 12)
    rope.key_tables, rope.query_tables = (
        [Tables(table.cos.double(), table.sin.double()) for table in tables]
        for tables in (rope.key_tables, rope.query_tables)
    )
    qkv = [x.detach().double().requires_grad_() for x in inputs(1, 2, 1, 12, 12)]
    monkeypatch.setattr("lcx_lightning.attention.pieces.rotate", rotate_exactly)
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


@settings(max_examples=40)
@given(shape=shapes)
def test_dense_attention_is_the_reference_and_so_are_its_gradients(shape):
    assert_same(attend_dense, *drawn(Causal(), shape))


@pytest.mark.parametrize("consecutive", [True, False])
@pytest.mark.parametrize("side", ["none", "left"])
def test_every_pattern_of_the_method_folder_attends_as_the_reference(any_pattern, side, consecutive):
    rope = rope_of(any_pattern, padded(2, 300, side), 300, positions=None if consecutive else sampled(300, 0))
    rope.selection = None
    assert_same(attend, inputs(2, 4, 2, 300, 300), rope)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("consecutive", [True, False])
@pytest.mark.parametrize(
    "pattern",
    [
        Lambda(window=64, sink_tokens=4, distance_limit=64),
        Lambda(window=64, sink_tokens=4, distance_limit=32),
        Lambda(window=64, sink_tokens=0, distance_limit=None),
        StreamingLLM(window=60, sink_tokens=4),
    ],
    ids=["lambda", "lambda, limit below the window", "window", "streaming"],
)
@pytest.mark.parametrize("implementation", [attend_banded, attend_flash_bands])
def test_a_window_reads_as_many_keys_of_a_long_text_as_it_and_a_block_are_long(
    implementation, pattern, side, consecutive, monkeypatch
):
    read, multiply, kernel, tokens = [], banded.matmul_grouped, flash_bands.flash, 2048

    def watched(x, y):
        read.append(x.shape[2] * y.shape[3] if x.shape[3] == DIM else 0)
        return multiply(x, y)

    def watched_kernel(q, k, *args, **options):
        read.append(q.shape[0] * q.shape[2] * k.shape[2])
        return kernel(q, k, *args, **options)

    monkeypatch.setattr(banded, "matmul_grouped", watched)
    rope = rope_of(pattern, padded(3, tokens, side), tokens, positions=None if consecutive else sampled(tokens, 0))
    monkeypatch.setattr(flash_bands, "flash", watched_kernel)
    implementation(*inputs(3, 1, 1, tokens, tokens), rope, SCALE)
    most_padding = 5
    rotations = 1 if consecutive and pattern.bands()[0].max_apart is None else 2  # a pair may be in either band
    each = 64 + 4 + banded.QUERY_BLOCK + 2 * most_padding
    if implementation is attend_flash_bands:
        rotations = 3 * len(pattern.bands())  # it reads row by row, and each band for itself
    assert tokens * 64 < sum(read) <= tokens * each * rotations


def test_a_text_that_ended_before_the_chunk_keeps_what_it_read():
    """The first row has its last token among the queries, the second one ended in an earlier chunk."""
    pattern = LambdaTopK(window=2, sink_tokens=1, distance_limit=2, middle_tokens=2, middle_distance=2, first_layer=0.0)
    valid = torch.arange(12) < torch.tensor([[11], [6]])
    qkv, rope = inputs(2, 4, 2, 4, 12), rope_of(pattern, valid, 4)
    changed = (attend(*qkv, rope, SCALE) - attend_banded(*qkv, rope, SCALE)).abs().amax(dim=(1, 3)) > 1e-4
    assert changed.tolist() == [[False, False, True, False], [False] * 4]


@pytest.mark.parametrize(
    ("first_layer", "layers", "first"), [(0.125, 32, 4), (0.125, 4, 0), (0.15625, 32, 5), (0.5, 1, 0)]
)
def test_layers_choose_from_a_share_of_the_depth_on(first_layer, layers, first):
    pattern = LambdaTopK(
        window=2, sink_tokens=1, distance_limit=2, middle_tokens=2, middle_distance=2, first_layer=first_layer
    )
    qkv, rope = inputs(1, 2, 2, 12, 12), rope_of(pattern, padded(1, 12, "none"), 12)
    without = attend_banded(*qkv, rope, SCALE)
    chose = [not torch.equal(attend(*qkv, rope, SCALE, (n + 1) / layers), without) for n in range(layers)]
    assert chose == [n >= first for n in range(layers)]


def test_the_gradient_reaches_the_chosen_keys_and_no_other_middle_one():
    pattern = LambdaTopK(window=3, sink_tokens=1, distance_limit=3, middle_tokens=2, middle_distance=2, first_layer=0.0)
    qkv = inputs(1, 1, 1, 1, 20)
    rope = rope_of(pattern, padded(1, 20, "none"), 1)
    _, k_gradient, v_gradient = torch.autograd.grad(attend(*qkv, rope, SCALE).sum(), qkv)
    for gradient in (k_gradient, v_gradient):
        reached = gradient.abs().sum(dim=-1)[0, 0] > 0
        assert reached[[0, 17, 18, 19]].all()
        assert reached.sum() == 4 + 2


@pytest.mark.parametrize("implementation", [attend_dense, attend_banded, attend_flash_bands, attend_reference])
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
    for name, implementation in IMPLEMENTATIONS.items():

        def watched(*args, name=name, implementation=implementation):
            used.append(name)
            return implementation(*args)

        monkeypatch.setitem(IMPLEMENTATIONS, name, watched)
    attend(*inputs(1, 1, 1, queries, 30), rope, SCALE)
    banded_by = "blocks" if queries == 1 else "flash_bands"
    assert used == [implementation_of(rope)] == ["dense" if is_dense(rope.bands) else banded_by]


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
