"""Masks of attention patterns, for drawings: at which distance each pair of query and key is rotated."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern

CELLS = 48  # on a side of a small drawing
WHOLE, NEAR = 16_384, 512  # keys that are all looked at; of more, the first, those before each query, and some between


class SmallMask(NamedTuple):
    """A mask with few cells, each of several tokens."""

    farthest: list[list[float]]  # by query and key: the largest rotated distance in a cell; -1 where no pair is seen
    selected: list[bool]  # by key: whether the last query selects among these by their logits
    step: int  # tokens of a cell
    seen: int  # keys that the last query sees, those that it selects not counted


def rotated_distances(
    bands: Sequence[Band], query: Int[Tensor, " queries"], key: Int[Tensor, " keys"]
) -> Float[Tensor, "queries keys"]:
    """Return at which distance each pair is rotated, in positions; -1 where no band holds it.

    Args:
        bands: The bands of a pattern.
        query: Indices of the queries, which are their positions.
        key: The same of the keys.
    """
    at_query, at_key = query.double(), key.double()
    distances = torch.full((len(query), len(key)), -1.0, dtype=torch.float64)
    for band in bands:
        seen = band.visible(query[:, None], key[None], at_query[:, None], at_key[None])
        distances = torch.where(seen, band.query_at(at_query)[:, None] - band.key_at(at_key)[None], distances)
    return distances


@torch.no_grad()
def small_mask(pattern: Pattern, tokens: int) -> SmallMask:
    """Return the mask of a pattern over a context of some tokens; a row of cells shows the last query in it."""
    step = -(-tokens // CELLS)
    cells = -(-tokens // step)
    query = torch.arange(step - 1, cells * step, step).clamp(max=tokens - 1)
    near = torch.arange(min(NEAR, tokens))
    before = (query[:, None] - near).clamp(min=0).flatten()
    key = torch.cat([near, before, torch.arange(0, tokens, max(1, tokens // WHOLE))]).unique()
    at = key // step
    farthest = torch.full((len(query), cells), -1.0, dtype=torch.float64)
    farthest.scatter_reduce_(1, at.expand(len(query), -1), rotated_distances(pattern.bands(), query, key), "amax")
    selected, selection = torch.zeros(cells), pattern.selection()
    if selection is not None:
        candidates = rotated_distances([selection.candidates], query[-1:], key)[0] >= 0
        selected.scatter_reduce_(0, at, candidates.float(), "amax")
    last = torch.tensor(tokens - 1)
    seen = sum(int(band.keys_seen(last)) for band in pattern.bands())
    return SmallMask(farthest.tolist(), (selected > 0).tolist(), step, seen)
