"""What evaluations that look inside a model share: which layers, heads, queries and windows they look at."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lcx_lightning.evaluation.base import Record


def evenly_spaced(count: int, of: int) -> list[int]:
    """Return up to `count` of the numbers 0 .. of - 1, evenly spread, the first always and the last if there are two.

    So that layers and heads are the same ones whatever is asked of them, and the first one is there in every model.
    """
    count = min(count, of)
    return [round(i * (of - 1) / max(count - 1, 1)) for i in range(count)]


def last_queries(count: int, last: int, length: int, seed: int) -> Int[Tensor, " queries"]:
    """Return the places of `count` of the last tokens of a context: the same tokens whatever its length."""
    back = np.random.default_rng([seed, last]).choice(last, size=min(count, last), replace=False)
    return torch.from_numpy(np.sort(length - 1 - back))


def with_last(rows: list[Record], known: list[Record]) -> list[Record]:
    """Return the rows, those that are `known` before they are computed at the end: when they are on disk, all are.

    How many layers, heads and visible distances there are is known by the model alone.
    """
    names = [{name: value for name, value in row.items() if name != "n"}.items() for row in known]
    return sorted(rows, key=lambda row: any(name <= row.items() for name in names))
