"""The interface of a position scheme: the scale factor of a forward pass, and the positions of its tokens."""

import abc
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Placement(NamedTuple):
    """Scale factor and positions of one forward pass. A single row serves every row of the batch."""

    factor: Float[Tensor, " rows"]  # scale factor s, at least 1
    positions: Float[Tensor, "rows tokens"]  # position of every token, in tokens, increasing


class PositionScheme(abc.ABC):
    """Choose the scale factor and the positions from the number of tokens in context, row by row."""

    samples = False  # True if positions or factor are sampled in training
    samples_rows = False  # True if they are sampled for each row, all at one factor; False if once for a pass
    length_dependent = False  # True if the factor in evaluation depends on the number of tokens

    @abc.abstractmethod
    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        """Return the scale factor of rows of `lengths` tokens in evaluation, where token m is at position m.

        The result has one factor for each row, or a single one for all rows.
        """

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, placement_seed: int | None) -> Placement:
        """Return scale factor and positions of rows of `lengths` tokens; overridden by schemes that sample in training.

        Args:
            lengths: Number of tokens in each row. The result is on the same device.
            pretrain_length: Pretraining length in tokens; L in the papers.
            placement_seed: Seed for sampling in training; equal seeds give equal placements. None places tokens as in
                evaluation.
        """
        return Placement(self.evaluation_factor(lengths, pretrain_length), consecutive(lengths))

    def max_context(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens that the scheme supports in evaluation, or None if unlimited."""
        return None


def consecutive(lengths: Int[Tensor, " rows"]) -> Float[Tensor, "1 tokens"]:
    """Return the positions 0, 1, 2 ... of the longest row, in a single row that serves all."""
    return torch.arange(int(lengths.max()), device=lengths.device, dtype=torch.float64)[None]


def seed_of_row(placement_seed: int, row: int) -> int:
    """Return the seed for sampling the positions of one row of a pass."""
    return int(np.random.SeedSequence([placement_seed, row]).generate_state(1)[0])


def sampled_span(tokens: int, factor: float, pretrain_length: int) -> int:
    """Return s L, the number of positions from which those of a training row are sampled.

    Raises:
        ValueError: If the row needs them all, so that nothing is left to sample.
    """
    span = int(factor * pretrain_length)
    if tokens >= span:
        raise ValueError(
            f"Training on {tokens} tokens leaves nothing to sample of the {span} positions of factor {factor}. "
            "Train on shorter rows (train_factor=1), or raise factor."
        )
    return span
