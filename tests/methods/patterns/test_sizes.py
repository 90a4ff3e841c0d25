"""The sizes of patterns: what follows from them, how they follow from the pretraining length, and which are refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcx_lightning.methods.patterns.leaky_rerope import LeakyReRoPE
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.patterns.sizes import least_group, rest, share


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
        (rest, {"of": 4, "without": 4}, "Nothing is left of 4 tokens without 4"),
        (least_group, {"window": 32, "pretrain_length": 32, "factor": 2.0}, "window=32"),
        (least_group, {"window": 8, "pretrain_length": 32, "factor": 0.5}, "factor=0.5"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        size(**arguments)
