"""Sizes computed from the pretraining length, for method files: YAML has no arithmetic (e.g. for arXiv:2401.01325)."""

import math

from lcx_lightning.methods.checks import number, whole


def share(*, of: int, by: float) -> int:
    """Return `by` times `of` tokens, rounded, and at least 1.

    Args:
        of: Length in tokens.
        by: Share of the length, above 0.

    Raises:
        ValueError: If `by` is not above 0, or `of` is below 1.
    """
    return max(round(number("by", by, above=0) * whole("of", of)), 1)


def rest(*, of: int, without: int) -> int:
    """Return `of` minus `without`, in tokens.

    Args:
        of: Length in tokens.
        without: Tokens to subtract.

    Raises:
        ValueError: If nothing is left.
    """
    of, without = whole("of", of), whole("without", without, least=0)
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
    number("factor", factor, least=1)
    if whole("window", window) >= whole("pretrain_length", pretrain_length):
        raise ValueError(
            f"A group size needs a window shorter than the {pretrain_length} tokens of pretraining, got {window=}."
        )
    return math.ceil((factor * pretrain_length - window) / (pretrain_length - window))
