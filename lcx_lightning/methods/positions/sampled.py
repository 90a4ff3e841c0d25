"""Sampled factors and positions: train on positions of a longer context (CLEX, arXiv:2310.16450, section 3.3)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from lcx_lightning.methods.positions.base import Placement, PositionScheme
from lcx_lightning.schema.checked import checked


class SampledPositions(PositionScheme):
    """Train at a factor t sampled from 1 .. `max_factor`, on positions sampled from the t L tokens that t reaches.

    In evaluation t is the next whole factor, ceil(n / L), and positions are consecutive. In a generation n is the
    planned length from the start, or with `grow` the current one, as in the released code. Each option says whether it
    follows the paper or the released code, where the two differ.

    Args:
        max_factor: Largest t, t^Train in the paper. No context is longer than max_factor * L.
        min_factor: Smallest t that is sampled in training: 1 in the released code, 2 in that before January 2024.
        whole_factors: Whether t is sampled from min_factor ... max_factor, as in the released code. If False, t is any
            real number between them, as in the paper.
        spread: How the n tokens of a training row are placed. `real`, the released code: at n of the n t positions
            0, 1, 2 ..., both end points included, divided by s = n // L if the training length exceeds the
            pretraining length, so that positions are real numbers in [0, t n / s). The released code puts the last
            token at n t // s - 1, which for s > 1 may not be greater than the position before it; ours is
            (n t - 1) / s. `whole`, the paper: at n of the t L whole positions, both end points included, or at the
            first n if t L is smaller. `consecutive`, the ablation: at 0 .. n - 1.
        clamp: Whether a context longer than max_factor * L is read at t = max_factor, with positions beyond it. If
            False, it is refused. The released code clamps t, but has no positions there.

    Raises:
        ValueError: If max_factor or min_factor is not a whole number of at least 1, min_factor is above max_factor, or
            `spread` is unknown. Later, if a context is longer than the scheme supports.
    """

    samples = length_dependent = True

    @checked
    def __init__(
        self,
        *,
        max_factor: PositiveInt,
        min_factor: PositiveInt,
        whole_factors: bool,
        spread: Literal["real", "whole", "consecutive"],
        clamp: bool,
    ) -> None:
        self.max_factor, self.min_factor, self.spread = max_factor, min_factor, spread
        if self.min_factor > self.max_factor:
            raise ValueError(f"min_factor must be at most max_factor={max_factor}, got min_factor={min_factor}.")
        self.whole_factors, self.clamp = whole_factors, clamp

    def evaluation_factor(self, lengths: Int[Tensor, " rows"], pretrain_length: int) -> Float[Tensor, " factors"]:
        served = lengths.clamp(max=self.max_factor * pretrain_length) if self.clamp else lengths
        return whole_factor(served, pretrain_length, 1, self.max_factor)

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, placement_seed: int | None) -> Placement:
        if placement_seed is None:
            return super().place(lengths, pretrain_length, placement_seed)
        generator = torch.Generator().manual_seed(placement_seed)
        factor = self._factor(generator)
        positions = self._positions(int(lengths.max()), factor, pretrain_length, generator).to(lengths.device)[None]
        return Placement(positions.new_full((1,), factor), positions)

    def max_context(self, pretrain_length: int) -> int | None:
        return None if self.clamp else self.max_factor * pretrain_length

    def _factor(self, generator: torch.Generator) -> float:
        if self.whole_factors:
            return float(torch.randint(self.min_factor, self.max_factor + 1, (), generator=generator))
        return self.min_factor + (self.max_factor - self.min_factor) * float(
            torch.rand((), generator=generator, dtype=torch.float64)
        )

    def _positions(
        self, tokens: int, factor: float, pretrain_length: int, generator: torch.Generator
    ) -> Float[Tensor, " tokens"]:
        if self.spread == "real":
            return draw_positions(tokens, int(tokens * factor), generator) / max(1, tokens // pretrain_length)
        if self.spread == "whole":
            return draw_positions(tokens, max(tokens, int(pretrain_length * factor)), generator)
        return torch.arange(tokens, dtype=torch.float64)


def draw_positions(tokens: int, span: int, generator: torch.Generator) -> Float[Tensor, " tokens"]:
    """Return `tokens` distinct positions from 0 .. span - 1, increasing, the first and the last one included."""
    if tokens < 2:
        return torch.zeros(tokens, dtype=torch.float64)
    inner = torch.randperm(span - 2, generator=generator)[: tokens - 2].sort().values + 1
    return torch.cat([inner.new_tensor([0]), inner, inner.new_tensor([span - 1])]).double()


def whole_factor(lengths: Int[Tensor, " rows"], pretrain_length: int, least: int, most: int) -> Float[Tensor, " rows"]:
    """Return the next whole factor for each row, ceil(n / L), but no less than `least`.

    Raises:
        ValueError: If a row needs a factor above `most`.
    """
    factor = -(-lengths // pretrain_length)
    if int(factor.max()) > most:
        raise ValueError(
            f"A context of {int(lengths.max())} tokens needs factor {int(factor.max())}, but max_factor is {most}, "
            f"which reaches {most * pretrain_length} tokens. Raise it (training must cover it) or shorten the context."
        )
    return factor.clamp(min=least).double()
