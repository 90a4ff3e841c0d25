"""Sizes computed from the pretraining length, for method files: YAML has no arithmetic (e.g. for arXiv:2401.01325)."""

import math


def share(*, of: int, by: float) -> int:
    """Return `by` times `of` tokens, rounded, and at least 1.

    Args:
        of: Length in tokens.
        by: Share of the length, above 0.

    Raises:
        ValueError: If `by` is not above 0, or `of` is below 1.
    """
    if by <= 0 or of < 1:
        raise ValueError(f"A share of a length needs by > 0 and of >= 1 tokens, got {by=}, {of=}.")
    return max(round(by * of), 1)


def rest(*, of: int, without: int) -> int:
    """Return `of` minus `without`, in tokens.

    Args:
        of: Length in tokens.
        without: Tokens to subtract.

    Raises:
        ValueError: If nothing is left.
    """
    if without >= of:
        raise ValueError(f"Nothing is left of {of} tokens without {without}: subtract fewer, or set the size itself.")
    return of - without


def least_group(*, window: int, pretrain_length: int, factor: float) -> int:
    """Return the smallest group size with which a context of s L tokens fits: ceil((s L - w) / (L - w)).

    Args:
        window: Tokens at their true distance; w.
        pretrain_length: Pretraining length in tokens; L.
        factor: Target length over pretraining length; s.

    Raises:
        ValueError: If the window is not shorter than the pretraining length, or the factor is below 1.
    """
    if window >= pretrain_length or factor < 1:
        raise ValueError(
            f"A group size needs a window shorter than the {pretrain_length} tokens of pretraining and a factor of at "
            f"least 1, got {window=}, {factor=}."
        )
    return math.ceil((factor * pretrain_length - window) / (pretrain_length - window))
