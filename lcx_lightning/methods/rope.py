"""Positions and rotations of one forward pass: rotary position embedding (RoFormer, arXiv:2104.09864)."""

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
    """The geometry of one forward pass. It is built once for each pass, and stored nowhere.

    Every tensor has the rows of the batch, or a single row that serves them all. This is a plain class on purpose:
    sharded training casts the floating tensors in tuples, dictionaries and dataclasses to bfloat16, which would change
    a frequency by up to 0.4 percent.

    Args:
        index: Index of each key in its text; it decides who sees whom.
        positions: Position of each key in tokens, a real number; it decides the rotation.
        valid: False on padding.
        queries: Number of queries; they are the last keys.
        inv_freq: Frequency of each pair in radians per token.
        feature_scale: Factor by which the rotated features of queries and keys are multiplied.
        logit_scale: Factor by which the logits of each query are multiplied, or None for 1.
        bands: Bands of pairs that attention sees.
        selection: Keys that the last query of each row sees in addition, or None.
        rotated: Whether keys come from a cache that holds them already rotated to `positions`.
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
        self.sparse = bool(
            (valid.sum(dim=1) <= index.amax(dim=1)).any()
        )  # some tokens of a text are not among the keys
        self.leading, self.inner = _padding(valid) if self.padded else (0, 0)
        self.consecutive = bool((positions == index).all())
        self.inv_freq, self.feature_scale, self.logit_scale = inv_freq, feature_scale, logit_scale
        self.bands = [band for band in map(self.simplify, bands) if not band.empty]
        self.selection, self.rotated = selection, rotated
        plain = self._rotated_keys() if rotated else self.tables(self.key_pos)
        plain_queries = plain if queries == index.shape[1] and not rotated else self.tables(self.query_pos)
        self.key_tables = [self.key_tables_of(band, plain) for band in self.bands]
        self.query_tables = [self.query_tables_of(band, plain_queries) for band in self.bands]

    def simplify(self, band: Band) -> Band:
        """Return a band that holds the same pairs in this pass, without limits on positions if they equal indices."""
        return band.on_indices() if self.consecutive else band

    def key_tables_of(self, band: Band, plain: Tables | None = None) -> Tables:
        """Return the rotation that a band applies to the keys; `plain` if it leaves them at their positions."""
        at = band.key_at(self.key_pos)
        if at is self.key_pos and plain is not None:
            return plain
        if self.rotated:  # from their positions on to those of the band
            return rotation_tables(angles(at - self.key_pos, self.inv_freq), torch.ones_like(self.feature_scale))
        return self.tables(at)

    def query_tables_of(self, band: Band, plain: Tables | None = None) -> Tables:
        """Return the rotation that a band applies to the queries; `plain` if it leaves them at their positions."""
        at = band.query_at(self.query_pos)
        return plain if at is self.query_pos and plain is not None else self.tables(at)

    def tables(self, positions: Float[Tensor, "rows tokens"]) -> Tables:
        """Return the tables of a rotation to `positions`, multiplied by the scale of the features."""
        return rotation_tables(angles(positions, self.inv_freq), self.feature_scale)

    def _rotated_keys(self) -> Tables:
        """Return tables without any pair: the keys are left as they are."""
        none = self.key_pos.new_empty(*self.key_pos.shape, 0, dtype=torch.float32)
        return Tables(none, none)


def angles(
    positions: Float[Tensor, "#rows tokens"], inv_freq: Float[Tensor, "#rows pairs"]
) -> Float[Tensor, "rows tokens pairs"]:
    """Return the angle of each pair in radians, float64: in float32 it is off by 0.2 at position 16 million."""
    return positions.double()[..., None] * inv_freq.double()[:, None, :]


def rotation_tables(angle: Float[Tensor, "#rows tokens pairs"], scale: Float[Tensor, "#rows"]) -> Tables:
    """Return the tables of a rotation by `angle`, in radians, multiplied by `scale`."""
    scale = scale.double()[:, None, None]
    return Tables((angle.cos() * scale).float(), (angle.sin() * scale).float())


def index_in_text(valid: Bool[Tensor, "rows tokens"]) -> Int[Tensor, "rows tokens"]:
    """Return the index of each token in its text; padding repeats the index of the token before it, or 0."""
    return (valid.cumsum(dim=-1) - 1).clamp(min=0)


def _padding(valid: Bool[Tensor, "rows keys"]) -> tuple[int, int]:
    """Return the largest number of padding tokens before the text of any row, and within the text of any row."""
    slots = torch.arange(valid.shape[1], device=valid.device)
    leading, trailing = (side.int().argmax(dim=1) for side in (valid, valid.flip(dims=[1])))
    inner = len(slots) - leading - trailing - valid.sum(dim=1)
    most_leading, most_inner = torch.stack([leading, inner]).amax(dim=1).tolist()
    return most_leading, most_inner
