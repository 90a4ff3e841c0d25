"""What evaluations that look inside a model share: which layers, heads, queries and windows they look at."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import Record


def spread(count: int, of: int) -> list[int]:
    """Return up to `count` of the numbers 0 .. of - 1, evenly spread, the first always and the last if there are two.

    So that layers and heads are the same ones whatever is asked of them, and the first one is there in every model.
    """
    count = min(count, of)
    return [round(i * (of - 1) / max(count - 1, 1)) for i in range(count)]


def last_queries(count: int, last: int, length: int, seed: int) -> Int[Tensor, " queries"]:
    """Return the places of `count` of the last tokens of a context: the same tokens whatever its length."""
    back = np.random.default_rng([seed, last]).choice(last, size=min(count, last), replace=False)
    return torch.from_numpy(np.sort(length - 1 - back))


def batches(windows: list[Window], length: int, batch_tokens: int) -> Iterator[list[Window]]:
    """Yield windows to be read at once."""
    rows = rows_at_once(len(windows), length, batch_tokens)
    for start in range(0, len(windows), rows):
        yield windows[start : start + rows]


def rows_at_once(windows: int, length: int, batch_tokens: int) -> int:
    """Return how many of the windows of a length are read at once."""
    return min(windows, max(1, batch_tokens // length))


def with_last(rows: list[Record], known: list[Record]) -> list[Record]:
    """Return the rows, those that are `known` before they are computed at the end: when they are on disk, all are.

    How many layers, heads and visible distances there are is known by the model alone.
    """
    names = [{name: value for name, value in row.items() if name != "n"}.items() for row in known]
    return sorted(rows, key=lambda row: any(name <= row.items() for name in names))
