"""Attention is the definition of each paper, one number at a time."""

import cmath
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.attention_inputs import INV_FREQ, SCALE, SIDES, dispatched, inputs, padded, rope_of
from support.position_inputs import sampled
from support.property_tests import examples

from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.lambda_top_k import LambdaTopK
from lcx_lightning.methods.patterns.leaky_rerope import LeakyReRoPE
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.patterns.streaming_llm import StreamingLLM


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
@examples(15)
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
    for implementation in (dispatched,) if write is top_k else (dispatched, attend_reference):
        actual = implementation(q, k, v, rope, SCALE).double()
        torch.testing.assert_close(actual.transpose(1, 2)[seen], wanted.transpose(1, 2)[seen], atol=1e-6, rtol=1e-5)
