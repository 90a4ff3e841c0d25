"""Sampling of a text that depends only on its own seed, not on the batch or the global random state."""

import hashlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from jaxtyping import Float, Int
from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor

from lcx_lightning.schema.checked import checked


class Nucleus:
    """Nucleus sampling (arXiv:1904.09751) as a change of scores, after which the highest score is the sample.

    The highest of logits with Gumbel noise is a sample of their softmax. The noise of each row comes from a generator
    of its own, one draw for each new token.

    Args:
        temperature: Temperature of the softmax.
        top_p: Least share of the probability that the kept tokens, the most probable ones, have together.
        seed: Seed for all samples.
        names: Name of each row: equal names get equal noise.

    Raises:
        ValueError: If `temperature` or `top_p` is out of range.
    """

    @checked
    def __init__(
        self,
        *,
        temperature: PositiveFloat,
        top_p: Annotated[float, Gt(0), Le(1)],
        seed: NonNegativeInt,
        names: Sequence[str],
    ) -> None:
        self._temperature, self._top_p = temperature, top_p
        self._generators = [np.random.default_rng([seed, _number(name)]) for name in names]

    def __call__(
        self, input_ids: Int[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Return the scores of the tokens kept with noise added, and minus infinity for the others, float32."""
        logits = scores.float() / self._temperature
        ordered, order = logits.softmax(-1).sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= self._top_p  # more probable tokens have enough
        logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
        noise = np.stack([generator.gumbel(size=logits.shape[1]) for generator in self._generators])
        return logits + torch.from_numpy(noise).to(logits)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
