"""The interface of a position scheme: by which factor, and at which positions, one forward pass places its tokens."""

import abc
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Placement(NamedTuple):
    """Where the tokens of one forward pass stand. A single row serves every row of the batch."""

    factor: Float[Tensor, " rows"]  # scale factor s, at least 1
    positions: Float[Tensor, "rows tokens"]  # position of the first, second ... token, increasing, in tokens


class PositionScheme(abc.ABC):
    """Choose the scale factor and the positions from the number of tokens in context, row by row."""

    samples = False  # True if training places tokens at random
    by_length = False  # True if the factor of evaluation hangs on the number of tokens

    @abc.abstractmethod
    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        """Return the scale factor of rows of `lengths` tokens in evaluation, where token m stands at m.

        A single factor serves every row.
        """

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, placement_seed: int | None) -> Placement:
        """Return where the tokens of rows of `lengths` tokens stand: a scheme that samples says where in training.

        Args:
            lengths: Tokens in context, of every row; factors and positions come back on the same device.
            pretrain_length: Tokens; L in the papers.
            draw: Seed of a training placement: equal draws give equal placements. None places as in evaluation.
        """
        return Placement(self.evaluation_factor(lengths, pretrain_length), consecutive(lengths))

    def max_context(self, pretrain_length: int) -> int | None:
        """Return the longest context in tokens that the scheme can place in evaluation, or None if there is no end."""
        return None


def consecutive(lengths: Int[Tensor, " rows"]) -> Float[Tensor, "1 tokens"]:
    """Return the positions 0, 1, 2 ... up to the longest of `lengths`, one row for all."""
    return torch.arange(int(lengths.max()), device=lengths.device, dtype=torch.float64)[None]


def check_factor(factor: float, name: str = "factor") -> None:
    """Raise a ValueError if a scale factor is below 1."""
    if factor < 1:
        raise ValueError(f"A scale factor stretches the context: {name} must be at least 1, got {factor}.")


def sampled_span(tokens: int, factor: float, pretrain_length: int) -> int:
    """Return the number of positions, s L, that the tokens of a training row are spread over.

    Raises:
        ValueError: If the row fills them all, so that there is nothing to sample.
    """
    span = int(factor * pretrain_length)
    if tokens >= span:
        raise ValueError(
            f"Training on {tokens} tokens leaves nothing to sample of the {span} positions of factor {factor}. "
            "Train on shorter rows (train_factor=1), or raise factor."
        )
    return span
