"""The interface of an attention pattern: which keys a query sees, and to which positions the two are rotated."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from jaxtyping import Bool, Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.schema.checked import check_fields


def unchanged(position: Tensor) -> Tensor:
    """Return the position itself."""
    return position


@dataclass(frozen=True)
class Band:
    """The (query, key) pairs at distances min_distance .. max_distance - 1, and the positions they are rotated to.

    Distances and keys are counted in tokens of the text, by index: sampled positions do not change who sees whom.
    Two bands may also divide the pairs at the same distances by the difference of their positions, because rotation
    goes by positions.
    """

    min_distance: NonNegativeInt = 0  # smallest distance, tokens
    max_distance: NonNegativeInt | None = None  # smallest distance beyond the band, tokens; None: no limit
    first_keys: NonNegativeInt | None = None  # number of tokens at the start that alone are keys; None: all are keys
    skipped_keys: NonNegativeInt = 0  # number of tokens at the start that are not keys
    min_apart: NonNegativeInt = 0  # smallest difference between the positions of query and key
    max_apart: NonNegativeInt | None = None  # smallest difference of positions beyond the band; None: no limit
    query_at: Callable[[Tensor], Tensor] = unchanged  # position of the query -> position to which it is rotated
    key_at: Callable[[Tensor], Tensor] = unchanged  # position of the key -> position to which it is rotated

    def __post_init__(self) -> None:
        check_fields(self)

    def visible(
        self,
        query: Int[Tensor, "*q"],
        key: Int[Tensor, "*k"],
        query_pos: Float[Tensor, "*qp"] | None = None,
        key_pos: Float[Tensor, "*kp"] | None = None,
    ) -> Bool[Tensor, "*pairs"]:
        """Return which pairs of query and key the band holds; all arguments are broadcast against each other.

        Args:
            query: Index of the query in its text.
            key: Index of the key in its text.
            query_pos: Position of the query in tokens. None if positions equal indices.
            key_pos: Position of the key in tokens. None if positions equal indices.
        """
        distance = query - key
        seen = _between(distance, self.min_distance, self.max_distance)
        if self.first_keys is not None or self.skipped_keys:
            seen = seen & _between(key, self.skipped_keys, self.first_keys)
        if self.min_apart or self.max_apart is not None:
            apart = distance if query_pos is None or key_pos is None else query_pos - key_pos
            seen = seen & _between(apart, self.min_apart, self.max_apart)
        return seen

    def keys_seen(self, query: Int[Tensor, "*q"]) -> Int[Tensor, "*q"]:
        """Return how many keys the band holds for each query index, if positions equal indices."""
        band = self.on_indices()
        first = query.new_full(query.shape, band.skipped_keys)
        if band.max_distance is not None:
            first = torch.maximum(first, query - band.max_distance + 1)
        end = query - band.min_distance + 1
        if band.first_keys is not None:
            end = end.clamp(max=band.first_keys)
        return (end - first).clamp(min=0)

    def on_indices(self) -> "Band":
        """Return a band without limits on positions that holds the same pairs if positions equal indices."""
        ends = [end for end in (self.max_distance, self.max_apart) if end is not None]
        return replace(
            self,
            min_distance=max(self.min_distance, self.min_apart),
            max_distance=min(ends, default=None),
            min_apart=0,
            max_apart=None,
        )

    @property
    def empty(self) -> bool:
        """Whether the band holds no pair at all."""
        return self.max_distance is not None and self.max_distance <= self.min_distance


@dataclass(frozen=True)
class Selection:
    """Keys that the last query of a pass sees in addition to its bands: those with the largest logits in each head."""

    candidates: Band  # pairs to select from, and the positions they are rotated to
    tokens: PositiveInt  # number of keys to select; all candidates if there are fewer
    first_layer: Annotated[float, Ge(0), Lt(1)]  # share of the layers, counted from the first one, that select nothing

    def __post_init__(self) -> None:
        check_fields(self)


class Pattern(abc.ABC):
    """Attention as a list of disjoint bands; the softmax runs over their union."""

    @abc.abstractmethod
    def bands(self) -> list[Band]:
        """Return disjoint bands, which hold no later key and always hold the query itself."""

    def selection(self) -> Selection | None:
        """Return what the last query of every pass sees in addition to the bands, or None if nothing."""
        return None

    def max_context(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens whose rotated distances stay below L, or None if not limited."""
        return None


def limited(band: Band, distance_limit: int) -> list[Band]:
    """Return two bands that hold the pairs of `band`, each pair rotated at min(distance, distance_limit).

    The distance here is the difference of positions, so that with sampled positions a near token may be beyond the
    limit, and a far one within it. The limit is exact: the query is rotated to the limit, the key to 0.
    """

    def at_limit(query: Tensor) -> Tensor:
        return torch.full_like(query, distance_limit)

    return [
        replace(band, max_apart=distance_limit),
        replace(band, min_apart=distance_limit, query_at=at_limit, key_at=torch.zeros_like),
    ]


def _between(x: Tensor, low: int, high: int | None) -> Tensor:
    """Return where low <= x < high."""
    return x >= low if high is None else (x >= low) & (x < high)
