"""What every attention pattern promises, and whom LM-Infinite's patterns show to whom, at which distance."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lcx_lightning.patterns.base import Band, limited
from lcx_lightning.patterns.capped import Capped
from lcx_lightning.patterns.causal import Causal
from lcx_lightning.patterns.lambda_mask import Lambda

TOKENS = 80  # more than twice the 32 that the patterns of the method folder were built for


def seen_and_rotated(bands, tokens=TOKENS):
    """Return how many bands hold each (query, key) pair, and the distance at which the pair is rotated."""
    at = torch.arange(tokens)
    held, rotated = torch.zeros(tokens, tokens, dtype=torch.int64), torch.full((tokens, tokens), torch.nan)
    for band in bands:
        visible = band.visible(at[:, None], at[None, :])
        distance = band.query_at(at.float())[:, None] - band.key_at(at.float())[None, :]
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
    torch.testing.assert_close(actual[1], wanted[1], equal_nan=True, atol=0, rtol=0)


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
    assert (rotated[held > 0] >= 0).all()
    assert (rotated[held > 0] <= distance).all()


def test_within_the_pretraining_length_every_pattern_of_the_folder_is_causal_attention(any_pattern):
    assert_same(seen_and_rotated(any_pattern.bands(), 32), seen_and_rotated(Causal().bands(), 32))


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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"window": 0, "sink_tokens": 1, "distance_limit": 8}, "window=0"),
        ({"window": 8, "sink_tokens": -1, "distance_limit": 8}, "sink_tokens=-1"),
        ({"window": 8, "sink_tokens": 1, "distance_limit": 0}, "distance_limit=0"),
    ],
)
def test_lambda_says_what_it_needs(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        Lambda(**arguments)


def test_capped_says_what_it_needs():
    with pytest.raises(ValueError, match="distance_limit >= 1, got 0"):
        Capped(distance_limit=0)
