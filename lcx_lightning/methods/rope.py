"""Where every token of a pass stands, and what turns it there: rotary position embedding (arXiv:2104.09864)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Selection


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
        selection: What the last query of each row sees besides, or None.
        rotated: Whether keys come from a cache that has rotated them to `positions`.
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
        rotated: bool = False,
    ) -> None:
        self.key_index, self.query_index = index, index[:, -queries:]
        self.key_pos, self.query_pos = positions, positions[:, -queries:]
        self.key_valid, self.padded = valid, not bool(valid.all())
        self.sparse = bool((valid.sum(dim=1) <= index.amax(dim=1)).any())  # tokens of a text are missing among the keys
        self.leading, self.inner = _padding(valid) if self.padded else (0, 0)
        self.consecutive = bool((positions == index).all())
        self.inv_freq, self.feature_scale, self.logit_scale = inv_freq, feature_scale, logit_scale
        self.bands = [band for band in map(self.read, bands) if not band.empty]
        self.selection, self.rotated = selection, rotated
        plain = self._rotated_keys() if rotated else self.tables(self.key_pos)
        plain_queries = plain if queries == index.shape[1] and not rotated else self.tables(self.query_pos)
        self.key_tables = [self.key_tables_of(band, plain) for band in self.bands]
        self.query_tables = [self.query_tables_of(band, plain_queries) for band in self.bands]

    def read(self, band: Band) -> Band:
        """Return the band as it reads in this pass: on indices alone, if they are the positions."""
        return band.on_indices() if self.consecutive else band

    def key_tables_of(self, band: Band, plain: Tables | None = None) -> Tables:
        """Return how a band rotates the keys as they come; `plain` where it leaves them at their positions."""
        at = band.key_at(self.key_pos)
        if at is self.key_pos and plain is not None:
            return plain
        if self.rotated:  # what is missing to where the band wants them
            return turning(angles(at - self.key_pos, self.inv_freq), torch.ones_like(self.feature_scale))
        return self.tables(at)

    def query_tables_of(self, band: Band, plain: Tables | None = None) -> Tables:
        """Return how a band rotates the queries; `plain` where it leaves them at their positions."""
        at = band.query_at(self.query_pos)
        return plain if at is self.query_pos and plain is not None else self.tables(at)

    def tables(self, positions: Float[Tensor, "rows tokens"]) -> Tables:
        """Return the tables of a rotation to `positions`, with the scale of the features."""
        return turning(angles(positions, self.inv_freq), self.feature_scale)

    def _rotated_keys(self) -> Tables:
        """Return the tables of no rotation: no pair turns."""
        none = self.key_pos.new_empty(*self.key_pos.shape, 0, dtype=torch.float32)
        return Tables(none, none)


def angles(
    positions: Float[Tensor, "#rows tokens"], inv_freq: Float[Tensor, "#rows pairs"]
) -> Float[Tensor, "rows tokens pairs"]:
    """Return by how many radians each pair turns, float64: float32 is off by 0.2 at position 16 million."""
    return positions.double()[..., None] * inv_freq.double()[:, None, :]


def turning(angle: Float[Tensor, "#rows tokens pairs"], scale: Float[Tensor, "#rows"]) -> Tables:
    """Return the tables of a rotation by `angle`, with the scale of the features."""
    scale = scale.double()[:, None, None]
    return Tables((angle.cos() * scale).float(), (angle.sin() * scale).float())


def places(valid: Bool[Tensor, "rows tokens"]) -> Int[Tensor, "rows tokens"]:
    """Return the place of each token in its text; padding repeats the place of the token before it."""
    return (valid.cumsum(dim=-1) - 1).clamp(min=0)


def _padding(valid: Bool[Tensor, "rows keys"]) -> tuple[int, int]:
    """Return the most padding that any row has before its text, and the most it has inside its text."""
    slots = torch.arange(valid.shape[1], device=valid.device)
    leading, trailing = (side.int().argmax(dim=1) for side in (valid, valid.flip(dims=[1])))
    inner = len(slots) - leading - trailing - valid.sum(dim=1)
    most_leading, most_inner = torch.stack([leading, inner]).amax(dim=1).tolist()
    return most_leading, most_inner
