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
    group = least_group(window=window, pretrain_length=32, factor=factor, trained_share=1)
    assert SelfExtend(window=window, group=group).max_context(32) >= math.floor(32 * factor)
    assert group == 1 or SelfExtend(window=window, group=group - 1).max_context(32) < 32 * factor


GROUP = {"window": 8, "pretrain_length": 32, "factor": 2.0, "trained_share": 1}


@given(factor=st.floats(1, 40), share=st.sampled_from([0.5, 0.6, 0.667, 1.0]))
def test_the_authors_rule_holds_for_the_group_and_not_for_one_less(factor, share):
    """w + (N - W) / G <= 1/2 to 2/3 of L, for N = s L tokens (README of LongLM)."""
    group = least_group(window=1024, pretrain_length=4096, factor=factor, trained_share=share)
    assert 1024 + (factor * 4096 - 1024) / group <= share * 4096 * (1 + 1e-9)
    assert group == 1 or 1024 + (factor * 4096 - 1024) / (group - 1) > share * 4096 * (1 - 1e-9)


def test_the_rule_asks_for_about_twice_the_smallest_group_that_fits():
    """Llama-2 at 16k: 5 fits, as the authors compute for 15,800 tokens; they name 8 and 16 as often better."""
    assert least_group(window=1024, pretrain_length=4096, factor=4, trained_share=1) == 5
    assert least_group(window=1024, pretrain_length=4096, factor=4, trained_share=0.667) == 9


def test_sizes_follow_from_the_pretraining_length():
    assert share(of=4096, by=0.25) == 1024
    assert share(of=2, by=0.1) == 1
    assert rest(of=4096, without=4) == 4092


@pytest.mark.parametrize(
    ("size", "arguments", "complaint"),
    [
        (rest, {"of": 4, "without": 4}, "Nothing is left of 4 tokens without 4"),
        (least_group, GROUP | {"window": 32}, "window=32"),
        (least_group, GROUP | {"window": 22, "trained_share": 0.667}, "shorter than 21.344 tokens, 0.667 of the 32"),
        (least_group, GROUP | {"factor": 0.5}, "got 0.5"),
        (least_group, GROUP | {"trained_share": 1.1}, "trained_share must be a number above 0 and up to 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        size(**arguments)
