"""The interface of an attention pattern: which keys a query sees, and where the two are rotated."""

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def unchanged(position: Tensor) -> Tensor:
    """Return the position itself."""
    return position


@dataclass(frozen=True)
class Band:
    """The (query, key) pairs at distances min_distance .. max_distance - 1, and the reading of positions they share.

    Distances and `first_keys` count tokens of the text, on indices: sampled positions do not change who sees whom.
    """

    min_distance: int = 0  # tokens
    max_distance: int | None = None  # tokens, exclusive; None: as far as the text goes back
    first_keys: int | None = None  # only the first so many tokens of the text are keys; None: all are
    query_at: Callable[[Tensor], Tensor] = unchanged  # position -> position at which the query is rotated
    key_at: Callable[[Tensor], Tensor] = unchanged  # position -> position at which the key is rotated

    def visible(self, query: Int[Tensor, "*q"], key: Int[Tensor, "*k"]) -> Bool[Tensor, "*pairs"]:
        """Return which pairs of broadcastable query and key indices the band holds."""
        distance = query - key
        seen = distance >= self.min_distance
        if self.max_distance is not None:
            seen = seen & (distance < self.max_distance)
        if self.first_keys is not None:
            seen = seen & (key < self.first_keys)
        return seen

    def keys_seen(self, query: Int[Tensor, "*q"]) -> Int[Tensor, "*q"]:
        """Return how many keys of the text the band holds for each query index."""
        first = torch.zeros_like(query) if self.max_distance is None else (query - self.max_distance + 1).clamp(min=0)
        end = query - self.min_distance + 1
        if self.first_keys is not None:
            end = end.clamp(max=self.first_keys)
        return (end - first).clamp(min=0)


class Pattern(abc.ABC):
    """Attention as a list of disjoint bands; the softmax runs over their union."""

    @abc.abstractmethod
    def bands(self) -> list[Band]:
        """Return disjoint bands that look only backwards and always contain the query itself."""


def limited(band: Band, distance_limit: int) -> list[Band]:
    """Return bands that hold the pairs of `band`, each rotated at min(distance, distance_limit).

    The limit is exact: the query rotated at the limit, the key at 0.
    """

    def at_limit(query: Tensor) -> Tensor:
        return torch.full_like(query, distance_limit)

    bands = []
    split = max(band.min_distance, distance_limit)  # from here on the limit is what rotates
    if band.min_distance < split:
        end = split if band.max_distance is None else min(split, band.max_distance)
        bands.append(dataclasses.replace(band, max_distance=end))
    if band.max_distance is None or split < band.max_distance:
        bands.append(dataclasses.replace(band, min_distance=split, query_at=at_limit, key_at=torch.zeros_like))
    return bands
