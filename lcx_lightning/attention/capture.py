"""What attention is given in a pass, for whoever watches: exact logits of some of its queries, whatever the pattern."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.attention.reference import banded_logits
from lcx_lightning.attention.top_k import chosen_logits, last_query
from lcx_lightning.methods.rope import Rope, Tables


@dataclass(frozen=True)
class Attended:
    """What the attention of one layer is given in one pass."""

    layer: int
    depth: float  # share of the model's layers up to this one, itself included
    q: Float[Tensor, "batch heads queries dim"]  # unrotated
    k: Float[Tensor, "batch groups keys dim"]  # unrotated
    rope: Rope
    scale: float  # the model's own, of the logits

    def logits(
        self, heads: Sequence[int], queries: Int[Tensor, " some"]
    ) -> Float[Tensor, "batch some_heads some keys"]:
        """Return the logits of some queries of some heads to all keys, float32, -inf where a key is not seen.

        They are those of the softmax: rotated as the pattern says, scaled by the temperature, and with what the last
        query of a row chooses. Memory grows with queries * keys.
        """
        q, k = self.q.float(), self.k.float()
        shared = q.shape[1] // k.shape[1]
        own = k[:, [head // shared for head in heads]]
        logits = banded_logits(q[:, list(heads)][:, :, queries], own, _of_queries(self.rope, queries), self.scale)
        selection = self.rope.selection
        if selection is not None and self.depth > selection.first_layer:
            chosen = chosen_logits(q, k, self.rope, self.scale, selection).flatten(1, 2)[:, list(heads), None]
            is_last = queries == last_query(self.rope)[:, None]
            logits = torch.where(is_last[:, None, :, None], chosen, logits)
        return logits.masked_fill(logits == torch.finfo(logits.dtype).min, -torch.inf)

    def distances(self, queries: Int[Tensor, " some"]) -> Int[Tensor, "rows some keys"]:
        """Return how many tokens of the text each key stands before some queries; negative numbers for later keys."""
        return self.rope.query_index[:, queries, None] - self.rope.key_index[:, None, :]


Listener: TypeAlias = Callable[[Attended], None]


def _of_queries(rope: Rope, queries: Int[Tensor, " some"]) -> Rope:
    """Return the rope of some of the queries alone."""
    some = copy(rope)
    some.query_index, some.query_pos = rope.query_index[:, queries], rope.query_pos[:, queries]
    some.query_tables = [Tables(tables.cos[:, queries], tables.sin[:, queries]) for tables in rope.query_tables]
    some.logit_scale = None if rope.logit_scale is None else rope.logit_scale[:, queries]
    return some
