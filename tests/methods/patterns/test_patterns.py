"""What every attention pattern promises, and whom it shows to whom, at which distance."""

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support.position_inputs import sampled

from lcx_lightning.methods.patterns.base import Band, limited
from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.lambda_top_k import LambdaTopK
from lcx_lightning.methods.patterns.leaky_rerope import LeakyReRoPE
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.patterns.streaming_llm import StreamingLLM

TOKENS = 80  # more than twice the 32 that the patterns of the method folder were built for


def seen_and_rotated(bands, tokens=TOKENS, positions=None):
    """Return how many bands hold each (query, key) pair, and the distance at which the pair is rotated."""
    at = torch.arange(tokens)
    p = at.double() if positions is None else positions
    held, rotated = torch.zeros(tokens, tokens, dtype=torch.int64), torch.full((tokens, tokens), torch.nan)
    for band in bands:
        visible = band.visible(at[:, None], at[None, :], p[:, None], p[None, :])
        distance = (band.query_at(p)[:, None] - band.key_at(p)[None, :]).float()
        held, rotated = held + visible, torch.where(visible, distance, rotated)
    return held, rotated


def expected(tokens, sees, rotated_distance):
    """Return the same from a definition, pair by pair."""
    held, rotated = torch.zeros(tokens, tokens, dtype=torch.int64), torch.full((tokens, tokens), torch.nan)
    for q in range(tokens):
        for k in range(q + 1):
            if sees(q, k):
                held[q, k], rotated[q, k] = 1, rotated_distance(q, k)
    return held, rotated


def assert_same(actual, wanted):
    assert torch.equal(actual[0], wanted[0])
    torch.testing.assert_close(actual[1], wanted[1], equal_nan=True, atol=1e-5, rtol=0)


def test_bands_are_disjoint_and_causal_and_contain_the_query(any_pattern):
    held, _ = seen_and_rotated(any_pattern.bands())
    assert held.max() == 1, "two bands overlap"
    assert (held.triu(1) == 0).all(), "a query sees the future"
    assert (held.diagonal() == 1).all(), "a query does not see itself"


def test_the_keys_that_a_band_holds_are_counted_as_they_are_seen(any_pattern):
    at = torch.arange(TOKENS)
    for band in any_pattern.bands():
        assert torch.equal(band.keys_seen(at), band.visible(at[:, None], at[None, :]).sum(dim=1))


def test_no_pair_is_rotated_farther_than_its_distance_or_into_the_future(any_pattern):
    held, rotated = seen_and_rotated(any_pattern.bands())
    at = torch.arange(TOKENS)
    distance = (at[:, None] - at[None, :])[held > 0]
    slack = 1 if isinstance(any_pattern, SelfExtend) and any_pattern.window % any_pattern.group else 1e-5
    assert (rotated[held > 0] >= 0).all()
    assert (rotated[held > 0] <= distance + slack).all()


def test_within_the_pretraining_length_every_pattern_but_the_short_windows_is_causal_attention(any_pattern):
    actual, causal = (seen_and_rotated(pattern.bands(), 32) for pattern in (any_pattern, Causal()))
    size = getattr(any_pattern, "distance_limit", None) or getattr(any_pattern, "window", None) or 32
    if size >= 32 or isinstance(any_pattern, StreamingLLM):
        assert_same(actual, causal)
    else:  # these see all, and nothing in the window changes
        assert torch.equal(actual[0], causal[0])
        near = causal[1] < size
        assert torch.equal(actual[1][near], causal[1][near])
        assert (actual[1][causal[1] > size + 2] != causal[1][causal[1] > size + 2]).all()


def test_positions_change_nothing_about_who_sees_whom_and_no_pair_turns_into_the_future(any_pattern):
    by_index, _ = seen_and_rotated(any_pattern.bands())
    for seed in range(20):
        held, rotated = seen_and_rotated(any_pattern.bands(), positions=sampled(TOKENS, seed))
        assert torch.equal(held, by_index)
        assert (rotated[held > 0] >= 0).all()


def test_where_positions_are_the_indices_bands_need_no_positions(any_pattern):
    folded = [band.on_indices() for band in any_pattern.bands()]
    assert_same(seen_and_rotated(folded), seen_and_rotated(any_pattern.bands()))
    assert torch.equal(seen_and_rotated(folded, positions=sampled(TOKENS, 0))[0], seen_and_rotated(folded)[0])


def test_no_distance_within_the_reach_of_a_pattern_is_new_to_the_model(any_pattern):
    max_context = any_pattern.max_context(32)
    if max_context is None:
        return
    assert max_context >= 128  # built for factor 4
    farthest = seen_and_rotated(any_pattern.bands(), max_context + 10)[1].nan_to_num().amax(dim=1)
    assert farthest[max_context - 1] <= 32
    assert farthest[max_context + 9] > 32


@given(
    window=st.integers(1, 30),
    sinks=st.integers(0, 30),
    limit=st.one_of(st.none(), st.integers(1, 40)),
)
@example(window=8, sinks=3, limit=5)  # limit below the window
@example(window=8, sinks=3, limit=8)
@example(window=8, sinks=3, limit=12)  # limit beyond the window
@example(window=8, sinks=3, limit=1000)
@example(window=8, sinks=3, limit=None)
@example(window=8, sinks=0, limit=5)
def test_lambda_sees_the_window_and_the_sinks_at_the_limited_distance(window, sinks, limit):
    bands = Lambda(window=window, sink_tokens=sinks, distance_limit=limit).bands()
    wanted = expected(
        36,
        lambda q, k: q - k < window or k < sinks,
        lambda q, k: q - k if limit is None else min(q - k, limit),
    )
    assert_same(seen_and_rotated(bands, 36), wanted)


@given(window=st.integers(1, 12), sinks=st.integers(0, 12), limit=st.integers(1, 20), seed=st.integers(0, 1000))
def test_the_limit_holds_for_the_distance_of_positions_and_the_window_for_that_of_indices(window, sinks, limit, seed):
    p = sampled(36, seed)
    bands = Lambda(window=window, sink_tokens=sinks, distance_limit=limit).bands()
    wanted = expected(36, lambda q, k: q - k < window or k < sinks, lambda q, k: min(float(p[q] - p[k]), limit))
    assert_same(seen_and_rotated(bands, 36, p), wanted)


@given(window=st.integers(1, 30), slowdown=st.floats(1, 20))
def test_leaky_rerope_slows_distances_beyond_the_window(window, slowdown):
    bands = LeakyReRoPE(window=window, slowdown=slowdown).bands()
    wanted = expected(
        36, lambda q, k: True, lambda q, k: q - k if q - k < window else window + (q - k - window) / slowdown
    )
    assert_same(seen_and_rotated(bands, 36), wanted)


@given(window=st.integers(1, 30), group=st.integers(1, 12))
def test_self_extend_groups_positions_beyond_the_window(window, group):
    def distance(q, k):
        return q - k if q - k < window else (q // group + window - window // group) - k // group

    wanted = expected(36, lambda q, k: True, distance)
    assert_same(seen_and_rotated(SelfExtend(window=window, group=group).bands(), 36), wanted)


@given(window=st.integers(1, 30), sinks=st.integers(0, 12))
def test_streaming_llm_has_the_distances_of_a_cache_that_drops_the_middle(window, sinks):
    """The oracle keeps a list: all tokens while they fit, then the sinks and the last ones, and takes places in it."""

    def cache(q):
        return list(range(q + 1)) if q < sinks + window else [*range(sinks), *range(q - window + 1, q + 1)]

    def distance(q, k):
        return cache(q).index(q) - cache(q).index(k)

    bands = StreamingLLM(window=window, sink_tokens=sinks).bands()
    assert_same(seen_and_rotated(bands, 48), expected(48, lambda q, k: k in cache(q), distance))


@given(window=st.integers(1, 8), sinks=st.integers(1, 12), seed=st.integers(0, 1000))
def test_on_sampled_positions_streaming_llm_ends_both_at_the_end_of_its_cache(window, sinks, seed):
    p, end = sampled(36, seed), sinks + window - 1

    def distance(q, k):
        return float(p[q] - p[k]) if q - k < window else min(float(p[q]), end) - min(float(p[k]), end)

    bands = StreamingLLM(window=window, sink_tokens=sinks).bands()
    assert_same(seen_and_rotated(bands, 36, p), expected(36, lambda q, k: q - k < window or k < sinks, distance))


@given(window=st.integers(1, 20), sinks=st.integers(0, 12), placed=st.integers(1, 20))
def test_the_middle_tokens_are_all_that_lambda_hides_and_stand_at_one_distance(window, sinks, placed):
    pattern = LambdaTopK(
        window=window, sink_tokens=sinks, distance_limit=8, middle_tokens=2, middle_distance=placed, first_layer=0.0
    )
    middle = seen_and_rotated([pattern.selection().candidates], 36)
    assert_same(middle, expected(36, lambda q, k: q - k >= window and k >= sinks, lambda q, k: placed))
    assert_same(
        seen_and_rotated(pattern.bands(), 36),
        seen_and_rotated(Lambda(window=window, sink_tokens=sinks, distance_limit=8).bands(), 36),
    )


def test_patterns_choose_nothing_unless_they_say_so():
    assert Causal().selection() is None
    assert Lambda(window=4, sink_tokens=1, distance_limit=4).selection() is None


@given(limit=st.integers(1, 50))
def test_capped_sees_everything_at_the_limited_distance(limit):
    wanted = expected(36, lambda q, k: True, lambda q, k: min(q - k, limit))
    assert_same(seen_and_rotated(Capped(distance_limit=limit).bands(), 36), wanted)


@given(
    start=st.integers(0, 30),
    width=st.one_of(st.none(), st.integers(1, 30)),
    sinks=st.one_of(st.none(), st.integers(1, 30)),
    limit=st.integers(1, 40),
)
def test_limiting_a_band_keeps_its_pairs(start, width, sinks, limit):
    end = None if width is None else start + width
    band = Band(min_distance=start, max_distance=end, first_keys=sinks)
    wanted = expected(
        36,
        lambda q, k: start <= q - k and (end is None or q - k < end) and (sinks is None or k < sinks),
        lambda q, k: min(q - k, limit),
    )
    assert_same(seen_and_rotated(limited(band, limit), 36), wanted)
