"""The learning-rate schedule: linear warm-up, constant, linear decay to zero (arXiv:2410.05192)."""

from collections.abc import Callable


def warmup_stable_decay(*, steps: int, warmup: int, decay: float) -> Callable[[int], float]:
    """Return the factor of the learning rate by optimizer step.

    Args:
        steps: Optimizer steps of the run.
        warmup: Steps of the rise from 0.
        decay: Share of the run, at its end, over which the factor falls to 0. 0 keeps it constant.

    Raises:
        ValueError: If not 0 <= decay <= 1, or warm-up and decay do not fit into the run.
    """
    falling = round(decay * steps)
    if not 0 <= decay <= 1 or warmup < 0 or warmup + falling > steps:
        raise ValueError(
            f"A schedule of {steps} steps has room for warm-up and decay within it, got {warmup=} steps and {decay=}."
        )

    def factor(step: int) -> float:
        rise = (step + 1) / (warmup + 1)
        fall = (steps - step) / (falling + 1)
        return max(0.0, min(1.0, rise, fall))

    return factor
