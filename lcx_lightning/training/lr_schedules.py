"""Learning-rate schedules: warm-up, then constant with a linear decay to zero (arXiv:2410.05192), or a cosine."""

import math
from collections.abc import Callable

from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Share


@checked
def warmup_stable_decay(
    *, steps: PositiveInt, warmup: NonNegativeInt, decay: Share, start: Share | None = None
) -> Callable[[int], float]:
    """Return a function from optimizer step to the factor of the learning rate, 0 to 1.

    Args:
        steps: Number of optimizer steps in the run.
        warmup: Number of steps of the linear warm-up.
        decay: Share of the run, at its end, over which the factor falls linearly to 0. With 0 it stays constant.
        start: Factor of the first step. None stands for 1 / (warmup + 1), so that the step before would have 0.

    Raises:
        ValueError: If not 0 <= decay <= 1 and 0 <= start <= 1, or warm-up and decay do not fit into the run.
    """
    falling = round(decay * steps)
    if warmup + falling > steps:
        raise ValueError(
            f"A schedule of {steps} steps needs room for {warmup=} steps and for {falling} steps of {decay=}. "
            "Take more steps, or lower schedule.warmup or schedule.decay."
        )

    def factor(step: int) -> float:
        rise = (step + 1) / (warmup + 1)
        if start is not None and step < warmup:
            rise = start + (1 - start) * step / warmup
        fall = (steps - step) / (falling + 1)
        return max(0.0, min(1.0, rise, fall))

    return factor


@checked
def warmup_cosine(*, steps: PositiveInt, warmup_share: Share) -> Callable[[int], float]:
    """Return a function from optimizer step to the factor of the learning rate: linear from 0 to 1, then a half cosine.

    This is the cosine schedule of transformers, with which CLEX is trained. The factor of the first step is 0, and so
    is that after the last one.

    Args:
        steps: Number of optimizer steps in the run.
        warmup_share: Share of the steps in the warm-up, rounded up to whole steps.

    Raises:
        ValueError: If not 0 <= warmup_share <= 1.
    """
    warmup = math.ceil(warmup_share * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup)))) / 2

    return factor
