"""Products of parameters: which of them are in the default run, and that the rest is marked `full`."""

from collections import Counter

import pytest
from support.pairs import a_few, pairs

METHODS = [f"m{i}" for i in range(11)]
FAMILIES = {f"f{i}": i for i in range(4)}
SIDES = ["left", "right"]


def few(params):
    return [param for param in params if not param.marks]


def test_the_whole_product_is_there_once():
    params = pairs(METHODS, FAMILIES)
    assert len({param.id for param in params}) == len(params) == 11 * 4
    assert {param.values for param in params} == {(m, f) for m in METHODS for f in range(4)}
    assert {mark.name for param in params for mark in param.marks} == {"full"}


@pytest.mark.parametrize("axes", [(METHODS, FAMILIES), (FAMILIES, METHODS), (METHODS, FAMILIES, SIDES)])
def test_every_value_is_in_the_default_run_and_as_often_as_the_others(axes):
    chosen = few(pairs(*axes, meets=2))
    assert len(chosen) == 2 * 11
    for i, axis in enumerate(axes):
        counts = Counter(param.values[i] for param in chosen)
        assert len(counts) == len(axis)
        assert min(counts.values()) >= 2
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_value_meets_others_than_it_has_met():
    chosen = few(pairs(METHODS, FAMILIES, SIDES, meets=2))
    for name in METHODS:
        met = [param.values[1:] for param in chosen if param.values[0] == name]
        assert len({family for family, _ in met}) == len({side for _, side in met}) == 2


def test_a_product_smaller_than_what_is_asked_for_is_whole():
    assert len(few(pairs(["a", "b"], [1], meets=3))) == 2
    assert len(few(pairs(SIDES, SIDES, meets=2))) == 4


def test_a_few_of_many_run_by_default_and_all_in_the_full_run():
    params = a_few(METHODS, 4)
    assert [param.values for param in params] == [(name,) for name in METHODS]
    assert [param.values[0] for param in few(params)] == [METHODS[step * 11 // 4] for step in range(4)]
    of_pairs = a_few(pairs(METHODS, FAMILIES, meets=1), 3)
    assert len(few(of_pairs)) == 3
    assert len(of_pairs) == len(METHODS) * len(FAMILIES)
    assert [param.marks for param in a_few(SIDES, 99)] == [(), ()]


def test_the_choice_is_the_same_every_time():
    first, second = (few(pairs(METHODS, FAMILIES, SIDES)) for _ in range(2))
    assert [param.id for param in first] == [param.id for param in second]
