"""Sampled blocks: our variant of CLEX's sampling, on contiguous blocks (arXiv:2310.16450; PoSE, arXiv:2309.10400)."""

import math

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from lcx_lightning.methods.positions.base import Placement, PositionScheme, consecutive
from lcx_lightning.methods.positions.sampled import whole_factor
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Factor


class SampledBlocks(PositionScheme):
    """Train at a whole factor t, at least the training length over L, on contiguous blocks of positions.

    Distances within a block are the true ones, so that a small model can still read words. The blocks are placed at
    random, in order, among the t L positions that t reaches. Evaluation uses t = max(min_factor, ceil(n / L)), with the
    n of `SampledPositions`.

    Args:
        max_factor: Largest t. No context is longer than max_factor * L.
        min_factor: Smallest t, the training length over L; rounded up to a whole number.
        blocks: Number of contiguous blocks into which a training row is divided.

    Raises:
        ValueError: If not 1 <= min_factor <= max_factor, or blocks is below 1. Later, if a context is longer than
            max_factor * L.
    """

    samples = length_dependent = True

    @checked
    def __init__(self, *, max_factor: PositiveInt, min_factor: Factor, blocks: PositiveInt) -> None:
        self.max_factor, self.blocks = max_factor, blocks
        self.min_factor = math.ceil(min_factor)
        if self.max_factor < self.min_factor:
            raise ValueError(
                f"Sampled blocks need max_factor >= min_factor, got {max_factor=} and {min_factor=}: max_factor must "
                "cover the training length."
            )

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return whole_factor(lengths, pretrain_length, self.min_factor, self.max_factor)

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, placement_seed: int | None) -> Placement:
        factor = self.evaluation_factor(lengths, pretrain_length)
        if placement_seed is None:
            return Placement(factor, consecutive(lengths))
        generator = torch.Generator().manual_seed(placement_seed)
        drawn = int(torch.randint(int(factor.max()), self.max_factor + 1, (), generator=generator))
        tokens = int(lengths.max())
        skipped = torch.randint(drawn * pretrain_length - tokens + 1, (self.blocks,), generator=generator).sort().values
        index = torch.arange(tokens)
        positions = (index + skipped[index * self.blocks // tokens]).double().to(lengths.device)[None]
        return Placement(positions.new_full((1,), drawn), positions)

    def max_context(self, pretrain_length: int) -> int | None:
        return self.max_factor * pretrain_length
