"""Near names are found by the whole name and by its last part."""

import pytest

from lcx_lightning.schema.near import did_you_mean, near

NAMES = ["method.pattern.window", "method.pattern.sink_tokens", "factor", "train_factor", "in_loop.every"]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("windo", "method.pattern.window"),
        ("method.patern.window", "method.pattern.window"),
        ("sink_token", "method.pattern.sink_tokens"),
        ("facter", "factor"),
        ("in_loop.evry", "in_loop.every"),
    ],
)
def test_a_typo_finds_its_name_first(typed, first):
    assert near(typed, NAMES)[0] == first


def test_a_name_like_no_other_finds_none():
    assert near("banana", NAMES) == []
    assert did_you_mean("banana", NAMES) == ""
    assert did_you_mean("facter", NAMES) == " Did you mean factor?"
