"""The sizes of patterns: what follows from them, how they follow from the pretraining length, and which are refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.lambda_top_k import LambdaTopK
from lcx_lightning.methods.patterns.leaky_rerope import LeakyReRoPE
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.patterns.sizes import least_group, rest, share
from lcx_lightning.methods.patterns.streaming_llm import StreamingLLM


@pytest.mark.parametrize(
    ("window", "group", "max_context"), [(8, 4, 104), (8, 8, 200), (1024, 5, 32), (32, 5, 32), (5, 1, 32)]
)
def test_self_extend_reaches_what_its_authors_say(window, group, max_context):
    """(L - w) * G + w with L = 32: (32 - 8) * 4 + 8 = 104. A window of L or more leaves nothing to group."""
    assert SelfExtend(window=window, group=group).max_context(32) == max_context
    assert LeakyReRoPE(window=window, slowdown=float(group)).max_context(32) == max_context


@given(window=st.integers(1, 31), factor=st.floats(1, 40))
def test_the_least_group_reaches_the_factor_and_one_less_does_not(window, factor):
    group = least_group(window=window, pretrain_length=32, factor=factor)
    assert SelfExtend(window=window, group=group).max_context(32) >= math.floor(32 * factor)
    assert group == 1 or SelfExtend(window=window, group=group - 1).max_context(32) < 32 * factor


def test_sizes_follow_from_the_pretraining_length():
    assert share(of=4096, by=0.25) == 1024
    assert share(of=2, by=0.1) == 1
    assert rest(of=4096, without=4) == 4092


@pytest.mark.parametrize(
    ("size", "arguments", "complaint"),
    [
        (share, {"of": 32, "by": 0.0}, "by=0.0"),
        (share, {"of": 0, "by": 0.5}, "of=0"),
        (rest, {"of": 4, "without": 4}, "Nothing is left of 4 tokens without 4"),
        (least_group, {"window": 32, "pretrain_length": 32, "factor": 2.0}, "window=32"),
        (least_group, {"window": 8, "pretrain_length": 32, "factor": 0.5}, "factor=0.5"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        size(**arguments)


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


TOP_K = {
    "window": 8,
    "sink_tokens": 1,
    "distance_limit": 8,
    "middle_tokens": 5,
    "middle_distance": 4,
    "first_layer": 0.125,
}


@pytest.mark.parametrize(
    ("pattern", "arguments", "complaint"),
    [
        (SelfExtend, {"window": 0, "group": 4}, "window=0"),
        (SelfExtend, {"window": 8, "group": 0}, "group=0"),
        (LeakyReRoPE, {"window": 0, "slowdown": 4.0}, "window=0"),
        (LeakyReRoPE, {"window": 8, "slowdown": 0.5}, "slowdown=0.5"),
        (StreamingLLM, {"window": 0, "sink_tokens": 4}, "window=0"),
        (StreamingLLM, {"window": 8, "sink_tokens": -1}, "sink_tokens=-1"),
        (LambdaTopK, TOP_K | {"window": 0}, "window=0"),
        (LambdaTopK, TOP_K | {"middle_tokens": 0}, "middle_tokens=0"),
        (LambdaTopK, TOP_K | {"middle_distance": 0}, "middle_distance=0"),
        (LambdaTopK, TOP_K | {"first_layer": 4.0}, "first_layer=4.0"),
        (LambdaTopK, TOP_K | {"first_layer": -0.1}, "first_layer=-0.1"),
    ],
)
def test_patterns_say_what_they_need(pattern, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        pattern(**arguments)
