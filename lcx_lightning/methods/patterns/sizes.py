"""Sizes computed from the pretraining length, for method files: YAML has no arithmetic (e.g. for arXiv:2401.01325)."""

import math
from typing import Annotated

from annotated_types import Gt, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Factor


@checked
def share(*, of: PositiveInt, by: PositiveFloat, unless: PositiveInt | None = None) -> int:
    """Return `by` times `of` tokens, rounded, and at least 1.

    Args:
        of: Length in tokens.
        by: Share of the length, above 0.
        unless: Size in tokens that counts instead, if there is one.

    Raises:
        ValueError: If `by` is not above 0, or `of` is below 1.
    """
    return unless or max(round(by * of), 1)


@checked
def rest(*, of: PositiveInt, without: NonNegativeInt, unless: PositiveInt | None = None) -> int:
    """Return `of` minus `without`, in tokens.

    Args:
        of: Length in tokens.
        without: Tokens to subtract.
        unless: Size in tokens that counts instead, if there is one.

    Raises:
        ValueError: If nothing is left.
    """
    if unless:
        return unless
    if without >= of:
        raise ValueError(f"Nothing is left of {of} tokens without {without}: subtract fewer, or set the size itself.")
    return of - without


@checked
def least_group(
    *, window: PositiveInt, pretrain_length: PositiveInt, factor: Factor, trained_share: Annotated[float, Gt(0), Le(1)]
) -> int:
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
    usable = trained_share * pretrain_length
    if window >= usable:
        raise ValueError(
            f"A group size needs a window shorter than {usable:g} tokens, {trained_share:g} of the {pretrain_length} "
            f"of pretraining, got {window=}. Take a shorter one, or set the group size itself."
        )
    return math.ceil((factor * pretrain_length - window) / (usable - window))
