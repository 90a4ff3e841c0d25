"""Patterns, ropes and inputs of attention, and the comparison with the reference."""

import torch
from hypothesis import strategies as st
from support.position_inputs import sampled

from lcx_lightning.attention.dispatch import attend
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.leaky_rerope import LeakyReRoPE
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.patterns.streaming_llm import StreamingLLM
from lcx_lightning.methods.rope import Rope

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


def dispatched(q, k, v, rope, scale, depth=1.0):
    """Attend by the backend that is chosen for a rope."""
    return attend(q, k, v, ForwardPass(rope), scale, depth)


def assert_same(implementation, qkv, rope):
    for actual, wanted in zip(result(implementation, qkv, rope), result(attend_reference, qkv, rope), strict=True):
        assert actual.isfinite().all()
        torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


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
