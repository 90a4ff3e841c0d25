"""Sampled factors and positions: train on random places of a longer context (CLEX, arXiv:2310.16450, section 3.3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.positions.base import Placement, PositionScheme, check_factor, consecutive


class SampledPositions(PositionScheme):
    """Train at a whole factor t drawn from 1 .. `max_factor`, on positions drawn from the context that t reaches.

    As in the released code: n tokens get n of the n t positions 0, 1, 2 ..., the two end points among them. If the
    training length n is s = n // L > 1 times the pretraining length, positions are divided by s, so that they are real
    numbers in [0, t n / s). The last one is (n t - 1) / s; the released code puts it at n t // s - 1, which for s > 2
    can stand before its neighbour. In evaluation t is the next whole factor, ceil(n / L), on consecutive positions.

    Args:
        max_factor: Largest t, t^Train in the paper; no context is longer than max_factor * L.

    Raises:
        ValueError: If max_factor is below 1, or a context is longer than it reaches.
    """

    samples = True

    def __init__(self, *, max_factor: int) -> None:
        check_factor(max_factor, "max_factor")
        self.max_factor = max_factor

    def place(self, lengths: Int[Tensor, " rows"], pretrain_length: int, draw: int | None) -> Placement:
        if draw is None:
            return Placement(whole_factor(lengths, pretrain_length, 1, self.max_factor), consecutive(lengths))
        generator = torch.Generator().manual_seed(draw)
        factor = int(torch.randint(1, self.max_factor + 1, (), generator=generator))
        tokens = int(lengths.max())
        positions = spread(tokens, tokens * factor, generator) / max(1, tokens // pretrain_length)
        positions = positions.to(lengths.device)[None]
        return Placement(positions.new_full((1,), factor), positions)

    def reach(self, pretrain_length: int) -> int | None:
        return self.max_factor * pretrain_length


def spread(tokens: int, span: int, generator: torch.Generator) -> Float[Tensor, " tokens"]:
    """Return `tokens` different positions of 0 .. span - 1 in order, the first and the last one among them."""
    if tokens < 2:
        return torch.zeros(tokens, dtype=torch.float64)
    inner = torch.randperm(span - 2, generator=generator)[: tokens - 2].sort().values + 1
    return torch.cat([inner.new_tensor([0]), inner, inner.new_tensor([span - 1])]).double()


def whole_factor(lengths: Int[Tensor, " rows"], pretrain_length: int, least: int, most: int) -> Float[Tensor, " rows"]:
    """Return the next whole factor of each row, ceil(n / L), and at least `least`.

    Raises:
        ValueError: If a row needs more than `most`.
    """
    factor = -(-lengths // pretrain_length)
    if int(factor.max()) > most:
        raise ValueError(
            f"A context of {int(lengths.max())} tokens needs factor {int(factor.max())}, but max_factor is {most}, "
            f"which reaches {most * pretrain_length} tokens. Raise it (training must cover it) or shorten the context."
        )
    return factor.clamp(min=least).double()
