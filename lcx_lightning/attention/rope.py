"""Rotation, applied late: inside attention, to queries and to keys that were cached unrotated (arXiv:2104.09864)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lcx_lightning.patterns.base import Band, Selection

AUTO = "auto"  # leaves the implementation of attention to the pass


class Tables(NamedTuple):
    """Cosines and sines of a rotation, times the scale of the rotated features."""

    cos: Float[Tensor, "rows tokens pairs"]
    sin: Float[Tensor, "rows tokens pairs"]


class Rope:
    """Everything one forward pass needs to know about positions. Built once per pass, stored nowhere.

    Every argument has the rows of the batch, or a single one that serves them all. A plain class, and no tuple or
    dataclass, on purpose: sharded training casts the floating tensors that it finds in those to bfloat16, which moves
    a frequency by up to 0.4 percent. Who makes it may set `implementation`, the name of one of attention's.

    Args:
        index: Place of each key in its text, in tokens: decides who sees whom.
        positions: Position of each key in tokens, real-valued: decides the rotation.
        valid: False on padding.
        queries: The queries are the last so many keys.
        inv_freq: Radians per token.
        feature_scale: What the rotated features are multiplied by.
        logit_scale: What the logits of each query are multiplied by, or None.
        bands: What a query sees.
        selection: What the last query of each row sees besides, or None.
    """

    def __init__(  # noqa: PLR0913 one pass in full
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
        selection: Selection | None = None,
    ) -> None:
        self.key_index, self.query_index = index, index[:, -queries:]
        self.key_pos, self.query_pos = positions, positions[:, -queries:]
        self.key_valid, self.padded = valid, not bool(valid.all())
        self.sparse = bool((valid.sum(dim=1) <= index.amax(dim=1)).any())  # tokens of a text are missing among the keys
        self.leading, self.inner = _padding(valid) if self.padded else (0, 0)
        self.consecutive = bool((positions == index).all())
        self.inv_freq, self.feature_scale, self.logit_scale = inv_freq, feature_scale, logit_scale
        self.bands = [band for band in map(self.read, bands) if not band.empty]
        plain = self.tables(self.key_pos)
        plain_queries = plain if queries == index.shape[1] else self.tables(self.query_pos)
        self.key_tables = [self._tables_of(band.key_at, self.key_pos, plain) for band in self.bands]
        self.query_tables = [self._tables_of(band.query_at, self.query_pos, plain_queries) for band in self.bands]
        self.selection = selection
        self.implementation = AUTO

    def read(self, band: Band) -> Band:
        """Return the band as it reads in this pass: on indices alone, if they are the positions."""
        return band.on_indices() if self.consecutive else band

    def _tables_of(self, place: Callable[[Tensor], Tensor], positions: Tensor, plain: Tables) -> Tables:
        at = place(positions)
        return plain if at is positions else self.tables(at)

    def tables(self, positions: Float[Tensor, "rows tokens"]) -> Tables:
        """Return the tables of a rotation to `positions`.

        Angles are taken in float64: in float32 they are off by 0.2 radians at position 16 million.
        """
        angle = positions.double()[..., None] * self.inv_freq.double()[:, None, :]
        scale = self.feature_scale.double()[:, None, None]
        return Tables((angle.cos() * scale).float(), (angle.sin() * scale).float())


def _padding(valid: Bool[Tensor, "rows keys"]) -> tuple[int, int]:
    """Return the most padding that any row has before its text, and the most it has inside its text."""
    slots = torch.arange(valid.shape[1], device=valid.device)
    leading, trailing = (side.int().argmax(dim=1) for side in (valid, valid.flip(dims=[1])))
    inner = len(slots) - leading - trailing - valid.sum(dim=1)
    most_leading, most_inner = torch.stack([leading, inner]).amax(dim=1).tolist()
    return most_leading, most_inner


def rotate(x: Float[Tensor, "batch heads tokens dim"], tables: Tables) -> Float[Tensor, "batch heads tokens dim"]:
    """Rotate the first 2 * pairs features of `x`, half-split layout; the other features pass through."""
    cos, sin = tables.cos[:, None], tables.sin[:, None]
    pairs = cos.shape[-1]
    a, b, rest = x.float().split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1).to(x.dtype)
