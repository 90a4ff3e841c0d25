"""Inputs of attention in a pass, for listeners: the exact logits of some queries, under any pattern."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.attention.reference import banded_logits
from lcx_lightning.attention.top_k import last_query, selected_logits
from lcx_lightning.methods.rope import Rope, Tables


@dataclass(frozen=True)
class AttentionInputs:
    """Inputs of the attention of one layer in one pass."""

    layer: int  # index of the layer
    depth: float  # share of the model's layers up to and including this one
    q: Float[Tensor, "batch heads queries dim"]  # unrotated queries
    k: Float[Tensor, "batch groups keys dim"]  # unrotated keys
    rope: Rope  # geometry of the pass, as this layer sees it
    scale: float  # the model's own scale of the logits

    def logits(
        self, heads: Sequence[int], queries: Int[Tensor, " some"]
    ) -> Float[Tensor, "batch some_heads some keys"]:
        """Return the logits of some queries of some heads to all keys, float32, -inf where a key is not seen.

        These are the logits that enter the softmax: rotated as the pattern says, scaled by the temperature, and with
        the keys that the last query of a row selects. Memory grows with queries * keys.
        """
        q, k = self.q.float(), self.k.float()
        heads_per_group = q.shape[1] // k.shape[1]
        keys_of_heads = k[:, [head // heads_per_group for head in heads]]
        rope = _of_queries(self.rope, queries)
        logits = banded_logits(q[:, list(heads)][:, :, queries], keys_of_heads, rope, self.scale)
        selection = self.rope.selection
        if selection is not None and self.depth > selection.first_layer:
            selected = selected_logits(q, k, self.rope, self.scale, selection).flatten(1, 2)[:, list(heads), None]
            is_last = queries == last_query(self.rope)[:, None]
            logits = torch.where(is_last[:, None, :, None], selected, logits)
        return logits.masked_fill(logits == torch.finfo(logits.dtype).min, -torch.inf)

    def distances(self, queries: Int[Tensor, " some"]) -> Int[Tensor, "rows some keys"]:
        """Return the distance in tokens from some queries to every key; negative for later keys."""
        return self.rope.query_index[:, queries, None] - self.rope.key_index[:, None, :]


Listener: TypeAlias = Callable[[AttentionInputs], None]


def _of_queries(rope: Rope, queries: Int[Tensor, " some"]) -> Rope:
    """Return `rope` for some of its queries only."""
    some = copy(rope)
    some.query_index, some.query_pos = rope.query_index[:, queries], rope.query_pos[:, queries]
    some.query_tables = [Tables(tables.cos[:, queries], tables.sin[:, queries]) for tables in rope.query_tables]
    some.logit_scale = None if rope.logit_scale is None else rope.logit_scale[:, queries]
    return some
