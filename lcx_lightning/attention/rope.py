"""Rotation, applied late: inside attention, to queries and to keys that were cached unrotated (arXiv:2104.09864)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lcx_lightning.patterns.base import Band


class Tables(NamedTuple):
    """Cosines and sines of a rotation, times the scale of the rotated features."""

    cos: Float[Tensor, "rows tokens pairs"]
    sin: Float[Tensor, "rows tokens pairs"]


class Rope:
    """Everything one forward pass needs to know about positions. Built once per pass, stored nowhere.

    Every argument has the rows of the batch, or a single one that serves them all. A plain class, and no tuple or
    dataclass, on purpose: sharded training casts the floating tensors that it finds in those to bfloat16, which moves
    a frequency by up to 0.4 percent.

    Args:
        index: Place of each key in its text, in tokens: decides who sees whom.
        positions: Position of each key in tokens, real-valued: decides the rotation.
        valid: False on padding.
        queries: The queries are the last so many keys.
        inv_freq: Radians per token.
        feature_scale: What the rotated features are multiplied by.
        logit_scale: What the logits of each query are multiplied by, or None.
        bands: What a query sees.
    """

    def __init__(
        self,
        *,
        index: Int[Tensor, "#rows keys"],
        positions: Float[Tensor, "#rows keys"],
        valid: Bool[Tensor, "#rows keys"],
        queries: int,
        inv_freq: Float[Tensor, "#rows pairs"],
        feature_scale: Float[Tensor, "#rows"],
        logit_scale: Float[Tensor, "#rows queries"] | None,
        bands: list[Band],
    ) -> None:
        self.key_index, self.query_index = index, index[:, -queries:]
        self.key_pos, self.query_pos = positions, positions[:, -queries:]
        self.key_valid, self.padded = valid, not bool(valid.all())
        self.inv_freq, self.feature_scale, self.logit_scale = inv_freq, feature_scale, logit_scale
        self.bands = bands
        plain = self.tables(self.key_pos)
        self.key_tables = [self._key_tables(band, plain) for band in bands]
        self.query_tables = [self._query_tables(band, plain) for band in bands]

    def _key_tables(self, band: Band, plain: Tables) -> Tables:
        at = band.key_at(self.key_pos)
        return plain if at is self.key_pos else self.tables(at)

    def _query_tables(self, band: Band, plain: Tables) -> Tables:
        at = band.query_at(self.query_pos)
        if at is not self.query_pos:
            return self.tables(at)
        queries = at.shape[1]
        return Tables(plain.cos[:, -queries:], plain.sin[:, -queries:])

    def tables(self, positions: Float[Tensor, "rows tokens"]) -> Tables:
        """Return the tables of a rotation to `positions`.

        Angles are taken in float64: in float32 they are off by 0.2 radians at position 16 million.
        """
        angle = positions.double()[..., None] * self.inv_freq.double()[:, None, :]
        scale = self.feature_scale.double()[:, None, None]
        return Tables((angle.cos() * scale).float(), (angle.sin() * scale).float())


def rotate(x: Float[Tensor, "batch heads tokens dim"], tables: Tables) -> Float[Tensor, "batch heads tokens dim"]:
    """Rotate the first 2 * pairs features of `x`, half-split layout; the other features pass through."""
    cos, sin = tables.cos[:, None], tables.sin[:, None]
    pairs = cos.shape[-1]
    a, b, rest = x.float().split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1).to(x.dtype)
