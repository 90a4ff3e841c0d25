"""Small masks for drawings agree with the masks that the patterns show in their own files."""

import re
import sys

import pytest

from lcx_lightning.methods.masks import small_mask
from lcx_lightning.patterns import Capped, Causal, Lambda, LambdaTopK

TEXT = re.compile(r"Mask of \w+\((.*)\):\n\n((?:    [#=.?]+\n)+)", re.MULTILINE)


def drawn_in(pattern):
    """Return the arguments and the rows of the mask in the file of a class."""
    arguments, rows = TEXT.search(sys.modules[pattern.__module__].__doc__).groups()
    return eval(f"dict({arguments})"), rows.split()


@pytest.mark.parametrize("pattern", [Lambda, LambdaTopK])
def test_a_mask_of_a_token_a_cell_is_that_of_the_file(pattern):
    values, rows = drawn_in(pattern)
    found = small_mask(pattern(**values), len(rows))
    assert (found.step, [len(row) for row in found.farthest]) == (1, [len(rows)] * len(rows))
    seen = [["#" if key >= 0 else "." for key in row] for row in found.farthest]
    expected = [row.replace("=", "#").replace("?", ".") for row in rows]
    assert ["".join(row) for row in seen] == expected
    limit = values["distance_limit"]
    beyond = {(q, k) for q, row in enumerate(rows) for k, sign in enumerate(row) if sign == "="}
    assert {found.farthest[q][k] for q, k in beyond} == {float(limit)}
    assert [key for key, chosen in enumerate(found.selected) if chosen] == [
        k for k, c in enumerate(rows[-1]) if c == "?"
    ]
    assert found.seen == rows[-1].count("#") + rows[-1].count("=")


def test_a_cell_of_many_tokens_shows_what_any_of_them_does():
    found = small_mask(Lambda(window=512, sink_tokens=1, distance_limit=1000), 48 * 100)
    last = found.farthest[-1]
    assert found.step == 100
    assert (last[0], last[1], last[-1], found.seen) == (1000.0, -1.0, 99.0, 513)
    assert [distance >= 0 for distance in last].count(True) == 1 + 6


@pytest.mark.parametrize("tokens", [16_384, 65_537, 1_000_000])
def test_the_smallest_window_is_seen_in_the_longest_context(tokens):
    found = small_mask(Lambda(window=16, sink_tokens=4, distance_limit=1000), tokens)
    assert all(row[0] >= 0 and row[place] >= 0 for place, row in enumerate(found.farthest))
    assert found.farthest[-1][1:-1] == [-1.0] * (len(found.farthest) - 2)
    assert (found.farthest[-1][-1], found.seen) == (15.0, 20)


@pytest.mark.parametrize("tokens", [1, 7, 49, 65_537, 1_000_000])
def test_a_mask_has_few_cells_at_any_length(tokens):
    found = small_mask(Causal(), tokens)
    assert len(found.farthest) == len(found.farthest[0]) <= 48
    assert found.farthest[0][0] >= 0
    assert found.seen == tokens
    assert max(map(max, small_mask(Capped(distance_limit=5), tokens).farthest)) == min(5, tokens - 1)
