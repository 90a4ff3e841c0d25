"""Sizes that follow from the pretraining length, for method files: YAML does not calculate (e.g. arXiv:2401.01325)."""

import math


def share(*, of: int, by: float) -> int:
    """Return a share of a length in tokens, `by` of the `of` tokens, rounded and at least 1.

    Raises:
        ValueError: If the share is not above 0, or the length below 1.
    """
    if by <= 0 or of < 1:
        raise ValueError(f"A share of a length needs by > 0 and of >= 1 tokens, got {by=}, {of=}.")
    return max(round(by * of), 1)


def rest(*, of: int, without: int) -> int:
    """Return the tokens of a length that are left without some of them.

    Raises:
        ValueError: If none is left.
    """
    if without >= of:
        raise ValueError(f"Nothing is left of {of} tokens without {without}: give fewer, or the size itself.")
    return of - without


def least_group(*, window: int, pretrain_length: int, factor: float) -> int:
    """Return the smallest group by which distances beyond the window reach factor s: ceil((s L - w) / (L - w)).

    Raises:
        ValueError: If the window leaves no distance of pretraining to group, or the factor is below 1.
    """
    if window >= pretrain_length or factor < 1:
        raise ValueError(
            f"Grouping up to a factor needs a window shorter than the {pretrain_length} tokens of pretraining and a "
            f"factor of at least 1, got {window=}, {factor=}."
        )
    return math.ceil((factor * pretrain_length - window) / (pretrain_length - window))
