"""The interface of an attention pattern: which keys a query sees, and where the two are rotated."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def unchanged(position: Tensor) -> Tensor:
    """Return the position itself."""
    return position


@dataclass(frozen=True)
class Band:
    """The (query, key) pairs at distances min_distance .. max_distance - 1, and the reading of positions they share.

    Distances and keys count tokens of the text, on indices: sampled positions do not change who sees whom. Bands that
    see the same pairs may share them out by how far apart their positions are, since rotation goes by positions.
    """

    min_distance: int = 0  # tokens
    max_distance: int | None = None  # tokens, exclusive; None: as far as the text goes back
    first_keys: int | None = None  # only the first so many tokens of the text are keys; None: all are
    skipped_keys: int = 0  # the first so many tokens of the text are no keys
    min_apart: int = 0  # positions between query and key
    max_apart: int | None = None  # positions between query and key, exclusive; None: any number
    query_at: Callable[[Tensor], Tensor] = unchanged  # position -> position at which the query is rotated
    key_at: Callable[[Tensor], Tensor] = unchanged  # position -> position at which the key is rotated

    def visible(
        self,
        query: Int[Tensor, "*q"],
        key: Int[Tensor, "*k"],
        query_pos: Float[Tensor, "*qp"] | None = None,
        key_pos: Float[Tensor, "*kp"] | None = None,
    ) -> Bool[Tensor, "*pairs"]:
        """Return which pairs of broadcastable query and key indices the band holds.

        Args:
            query: Place in the text, in tokens.
            key: Place in the text, in tokens.
            query_pos: Position in tokens; None where positions are the indices.
            key_pos: The same of the key.
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
        """Return how many keys of the text the band holds for each query index, positions being the indices."""
        band = self.on_indices()
        first = query.new_full(query.shape, band.skipped_keys)
        if band.max_distance is not None:
            first = torch.maximum(first, query - band.max_distance + 1)
        end = query - band.min_distance + 1
        if band.first_keys is not None:
            end = end.clamp(max=band.first_keys)
        return (end - first).clamp(min=0)

    def on_indices(self) -> "Band":
        """Return the band that holds the same pairs where positions are the indices, and asks for indices only."""
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
        """Whether no distance is left."""
        return self.max_distance is not None and self.max_distance <= self.min_distance


@dataclass(frozen=True)
class Selection:
    """Keys that the last query of a pass sees besides its bands: those of the largest logits, for every head."""

    candidates: Band  # pairs to choose from, rotated as they say
    tokens: int  # keys that are chosen, fewer where there are fewer
    first_layer: float  # share of the layers, from the first one on, that choose none


class Pattern(abc.ABC):
    """Attention as a list of disjoint bands; the softmax runs over their union."""

    @abc.abstractmethod
    def bands(self) -> list[Band]:
        """Return disjoint bands that look only backwards and always contain the query itself."""

    def selection(self) -> Selection | None:
        """Return what the last query of every pass sees besides the bands, or None for nothing."""
        return None

    def max_context(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens whose distances stay within pretraining, or None if there is no end."""
        return None


def limited(band: Band, distance_limit: int) -> list[Band]:
    """Return bands that hold the pairs of `band`, each rotated at min(distance, distance_limit).

    The distance is that of the positions: on sampled positions near tokens can be beyond the limit, and far ones not.
    The limit is exact: the query rotated at the limit, the key at 0.
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
