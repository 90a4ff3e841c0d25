"""Parameters for a product of axes: a few pairings in the default run, the rest of the product marked `full`."""

from collections import Counter
from itertools import combinations, product
from math import prod

import pytest


def pairs(*axes, meets=2):
    """Return pytest parameters for the whole product of `axes`, all but a few of them marked `full`.

    An axis is a list of values that name themselves, or a mapping from the id of a value to the value. In the default
    run every value of every axis occurs `meets` times (or as often as the product lets it), each time beside values
    that it has met least.
    """
    named = [axis if isinstance(axis, dict) else {str(value): value for value in axis} for axis in axes]
    few = _few([list(axis) for axis in named], meets)
    return [
        pytest.param(
            *(axis[name] for axis, name in zip(named, names, strict=True)),
            id="-".join(names),
            marks=() if names in few else pytest.mark.full,
        )
        for names in product(*named)
    ]


def a_few(values, count):
    """Return pytest parameters for all values, or parameters of `pairs`: `count` of them unmarked, the rest `full`.

    Those that run by default are spread evenly over those that are not marked yet.
    """
    params = [value if hasattr(value, "marks") else pytest.param(value, id=str(value)) for value in values]
    free = [index for index, param in enumerate(params) if not param.marks]
    kept = {free[step * len(free) // count] for step in range(count)} if count < len(free) else {*free}
    return [
        param if index in kept or param.marks else pytest.param(*param.values, id=param.id, marks=pytest.mark.full)
        for index, param in enumerate(params)
    ]


def _few(axes, meets):
    """Return the names of combinations in which every name of every axis occurs `meets` times, chosen greedily."""
    left = Counter()
    for i, axis in enumerate(axes):
        others = prod(len(other) for other in axes) // len(axis)
        left.update({(i, name): min(meets, others) for name in axis})
    few, used, met = set(), Counter(), set()
    while any(left.values()):
        rest = (names for names in product(*axes) if names not in few)
        best = max(rest, key=lambda names: _gain(list(enumerate(names)), left, used, met))
        few.add(best)
        used.update(enumerate(best))
        met.update(combinations(enumerate(best), 2))
        left -= Counter(enumerate(best))
    return few


def _gain(values, left, used, met):
    """Return how good a combination is: values that are still needed, values new to each other, values used least."""
    needed = sum(left[value] > 0 for value in values)
    new = sum(pair not in met for pair in combinations(values, 2))
    return needed, new, -sum(used[value] for value in values)
