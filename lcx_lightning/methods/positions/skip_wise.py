"""Skip-wise positions: train on short rows in chunks with gaps in between (PoSE, Zhu et al. 2023, arXiv:2309.10400)."""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.positions.base import Placement, PositionScheme, consecutive, sampled_span
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Factor


class SkipWisePositions(PositionScheme):
    """Divide a training row into chunks, and shift chunk i by u_i: u_0 = 0, u_i uniform in u_(i-1) .. s L - n.

    With two chunks the sizes are those of the released code: the first chunk has 1 .. ceil(n / 2) tokens. With c
    chunks, each but the last has 1 .. ceil(n / c). Every row is divided and shifted by draws of its own, as there. The
    text is contiguous; the released code also skips text.
    Only training is changed: evaluation uses consecutive positions. The factor is s in both.

    Args:
        factor: Scale factor s, the target length over the pretraining length.
        chunks: Number of chunks in a training row; N in the paper, 2 there.

    Raises:
        ValueError: If factor is below 1, or chunks is below 2. Later, if a training row leaves nothing to skip.
    """

    samples = samples_rows = True

    @checked
    def __init__(self, *, factor: Factor, chunks: Annotated[int, Ge(2)]) -> None:
        self.factor, self.chunks = factor, chunks

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return lengths.new_full((1,), self.factor, dtype=torch.float64)

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, placement_seed: int | None) -> Placement:
        positions = consecutive(lengths)
        if placement_seed is not None:
            tokens = int(lengths.max())
            room = sampled_span(tokens, self.factor, pretrain_length) - tokens
            positions = positions + self._skips(tokens, room, placement_seed).to(positions)
        return Placement(positions.new_full((1,), self.factor), positions)

    def _skips(self, tokens: int, room: int, placement_seed: int) -> Int[Tensor, " tokens"]:
        """Return the shift of each token, in positions: 0 in the first chunk, then never decreasing."""
        generator = torch.Generator().manual_seed(placement_seed)
        sizes = torch.randint(1, -(-tokens // self.chunks) + 1, (self.chunks - 1,), generator=generator)
        skips = torch.zeros(tokens, dtype=torch.long)
        skip = 0
        for start in sizes.cumsum(0).tolist():
            skip = int(torch.randint(skip, room + 1, (), generator=generator))
            skips[start:] = skip
        return skips
