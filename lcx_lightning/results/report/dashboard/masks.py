"""Masks of the patterns of arms, as small drawings of query by key, with a table that says the same."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.tables import Cell, Table

SHADES = 8  # of distances from 0 to L
UNSEEN, BEYOND, SELECTED = "unseen", "beyond", "selected"


class Mask(NamedTuple):
    """The pattern of some arms over a context."""

    pattern: str  # in words
    arms: list[str]
    pretrain_length: int  # L, tokens
    tokens: int  # of the context that is drawn
    farthest: list[list[float]]  # by query and key: the largest rotated distance of a cell, tokens; -1: none is seen
    selected: list[bool]  # by key: whether the last query selects among these
    step: int  # tokens of a cell
    seen: int  # keys that the last query sees


class Patterns(NamedTuple):
    """The masks of the patterns of arms, and how many patterns more there are."""

    masks: Sequence[Mask] = ()
    left_out: int = 0


Masks = Callable[[Experiment], Patterns]
"""Returns the patterns of the arms of an experiment."""


def drawings(masks: Sequence[Mask], numbers: dict[str, int]) -> list[dict[str, Any]]:
    """What the template shows of masks: for each the paths of its drawing by kind, and the arms with their numbers."""
    return [
        {
            "title": mask.pattern,
            "said": _said(mask),
            "side": len(mask.farthest),
            "paths": _paths(mask),
            "arms": [{"name": arm, "number": numbers[arm]} for arm in mask.arms],
        }
        for mask in masks
    ]


def masks_table(masks: Sequence[Mask]) -> Table:
    """The patterns in numbers: what the last token of the context sees."""
    header = ["pattern", "arms", "L", "tokens drawn", "keys that the last token sees", "largest rotated distance"]
    rows = [
        [
            Cell(mask.pattern), Cell(", ".join(mask.arms)), Cell(f"{mask.pretrain_length:,}"), Cell(f"{mask.tokens:,}"),
            Cell(f"{mask.seen:,}" + (", and those it selects" if any(mask.selected) else "")),
            Cell(f"{_farthest(mask):,.0f}" + (" (beyond L)" if _farthest(mask) > mask.pretrain_length else "")),
        ]
        for mask in masks
    ]  # fmt: skip
    return Table("Attention patterns of the arms", header, rows, [], sentences=True)


def _farthest(mask: Mask) -> float:
    return max(max(row) for row in mask.farthest)


def _said(mask: Mask) -> str:
    """The drawing in words."""
    said = f"Of {mask.tokens:,} tokens ({mask.tokens / mask.pretrain_length:.3g}L) the last sees {mask.seen:,}"
    said += ", and selects among others," if any(mask.selected) else ""
    cell = f"{mask.step:,} tokens" if mask.step > 1 else "1 token"
    return f"{said} at distances up to {_farthest(mask):,.0f}. A cell: {cell}."


def _paths(mask: Mask) -> dict[str, str]:
    """Runs of cells of one kind in a row, as one path for each kind."""
    found: dict[str, list[str]] = {}
    for y, row in enumerate(mask.farthest):
        kinds = [_kind(distance, mask.pretrain_length) for distance in row]
        if y == len(mask.farthest) - 1:
            kinds = [SELECTED if chosen else kind for kind, chosen in zip(kinds, mask.selected, strict=True)]
        start = 0
        for x in range(1, len(kinds) + 1):
            if x == len(kinds) or kinds[x] != kinds[start]:
                found.setdefault(kinds[start], []).append(f"M{start} {y}h{x - start}v1h-{x - start}z")
                start = x
    return {kind: "".join(runs) for kind, runs in found.items() if kind != UNSEEN}


def _kind(distance: float, pretrain_length: int) -> str:
    if distance < 0:
        return UNSEEN
    return BEYOND if distance > pretrain_length else f"shade{round(distance / pretrain_length * (SHADES - 1))}"
