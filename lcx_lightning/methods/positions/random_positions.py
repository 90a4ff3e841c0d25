"""Random positions: train on an ordered random subset of long positions (Ruoss et al. 2023, arXiv:2305.16843)."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.positions.base import Placement, PositionScheme, consecutive, sampled_span
from lcx_lightning.schema.checked import checked

LARGEST_FACTOR = 1024  # a draw permutes all s L positions: 1 GiB at L = 131,072


class RandomPositions(PositionScheme):
    """Place the n tokens of a training row at n distinct positions from 0 .. s L - 1, sampled uniformly, increasing.

    Every row has positions of its own. Only training is changed: evaluation uses consecutive positions, where the
    paper samples them there too. The factor is s in both.

    Args:
        factor: Scale factor s. Positions are below s L, which the paper calls L.

    Raises:
        ValueError: If factor is below 1 or above 1,024. Later, if a training row leaves nothing to sample.
    """

    samples = samples_rows = True

    @checked
    def __init__(self, *, factor: Annotated[float, Ge(1), Le(LARGEST_FACTOR)]) -> None:
        self.factor = factor

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        return lengths.new_full((1,), self.factor, dtype=torch.float64)

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, placement_seed: int | None) -> Placement:
        positions = consecutive(lengths)
        if placement_seed is not None:
            tokens = int(lengths.max())
            span = sampled_span(tokens, self.factor, pretrain_length)
            generator = torch.Generator().manual_seed(placement_seed)
            positions = torch.randperm(span, generator=generator)[:tokens].sort().values.to(positions)[None]
        return Placement(positions.new_full((1,), self.factor), positions)
