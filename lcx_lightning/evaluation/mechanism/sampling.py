"""What evaluations of the inside of a model share: the choice of layers, heads and queries, and the order of rows."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lcx_lightning.evaluation.base import Record
from lcx_lightning.results.records import identity


def evenly_spaced(count: int, of: int) -> list[int]:
    """Return up to `count` of the numbers 0 .. of - 1, evenly spaced: the first always, the last if there are two.

    Layers and heads are chosen by it, so that they are the same whatever is measured, and every model has the first.
    """
    count = min(count, of)
    return [round(i * (of - 1) / max(count - 1, 1)) for i in range(count)]


def last_queries(count: int, last: int, length: int, seed: int) -> Int[Tensor, " queries"]:
    """Return `count` indices drawn from the `last` tokens of a context: the same tokens whatever its length."""
    back = np.random.default_rng([seed, last]).choice(last, size=min(count, last), replace=False)
    return torch.from_numpy(np.sort(length - 1 - back))


def with_last(rows: list[Record], known: list[Record]) -> list[Record]:
    """Return the rows, with those that a work unit names beforehand (`known`) at the end: if they are on disk, all are.

    Only the model knows how many layers, heads and visible distances there are.
    """
    last = {identity(row) for row in known}
    return sorted(rows, key=lambda row: identity(row) in last)
