"""Rows of tokens to place, the draws to place them by, and positions that are no indices."""

import torch

DRAWS = range(200)


def lengths(*rows):
    return torch.tensor(rows)


def sampled(tokens, seed):
    """Return increasing real positions, from 0 on, on average 1.5 apart and some less than 1."""
    steps = 0.05 + 2.9 * torch.rand(tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return steps.cumsum(0) - steps[0]
