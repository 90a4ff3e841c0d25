"""A data loader whose batch i is a pure function of i: a resumed run gets the same batches as an uninterrupted one."""

from collections.abc import Callable, Iterator
from typing import Any

Batch = dict[str, Any]


class StepLoader:
    """A loader of `make_batch(0)` to `make_batch(steps - 1)`; one epoch is the whole run.

    Lightning saves `state_dict` in its checkpoints, and loads it before it requests the first batch. The loader has a
    length, because from loaders without one Lightning prefetches, which would count one batch too many.

    Args:
        make_batch: Function from the index of a batch to the batch, which depends on nothing else.
        steps: Number of batches; with gradient accumulation, of micro-batches.
    """

    def __init__(self, make_batch: Callable[[int], Batch], steps: int) -> None:
        self._make_batch, self._steps = make_batch, steps
        self._start = self._yielded = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the loaded step on; a second pass starts at 0."""
        start, self._start = self._start, 0
        for step in range(start, self._steps):
            batch = self._make_batch(step)
            self._yielded = step + 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches yielded so far."""
        return {"batches": self._yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the number of batches in `state`."""
        self._start = self._yielded = state["batches"]


def check_shares(rows: int, ranks: int, micro_batches: int) -> int:
    """Return the number of shares of a global batch, one for each rank and micro-batch.

    Raises:
        ValueError: If the rows cannot be shared equally.
    """
    shares = ranks * micro_batches
    if rows % shares:
        raise ValueError(
            f"The rows of a batch need to be shared equally; {rows} rows were given to {ranks} ranks with "
            f"{micro_batches} micro-batches each. Take a multiple of {shares} rows, or fewer ranks or micro-batches."
        )
    return shares
