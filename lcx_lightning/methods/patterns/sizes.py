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


def least_group(*, window: int, pretrain_length: int, factor: float, trained_share: float) -> int:
    """Return the smallest group size with which the distances of s L tokens stay within a share p of L.

    It is ceil((s L - w) / (p L - w)). With p = 1 the context just fits. The rule of Self-Extend's authors (README of
    github.com/datamllab/LongLM) is w + (s L - w) / G < 1/2 to 2/3 of L, because larger distances are rare in
    pretraining: with w = L / 4 a p of 2/3 gives about twice the smallest group that fits, 1/2 three times.

    Args:
        window: Tokens at their true distance; w.
        pretrain_length: Pretraining length in tokens; L.
        factor: Target length over pretraining length; s.
        trained_share: Share of the pretraining length whose distances may be used; p.

    Raises:
        ValueError: If the window is not shorter than p L, the factor is below 1, or p is not above 0 and at most 1.
    """
    number("factor", factor, least=1)
    usable = number("trained_share", trained_share, above=0, most=1) * whole("pretrain_length", pretrain_length)
    if whole("window", window) >= usable:
        raise ValueError(
            f"A group size needs a window shorter than {usable:g} tokens, {trained_share:g} of the {pretrain_length} "
            f"of pretraining, got {window=}. Take a shorter one, or set the group size itself."
        )
    return math.ceil((factor * pretrain_length - window) / (usable - window))
