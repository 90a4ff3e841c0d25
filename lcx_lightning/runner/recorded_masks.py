"""Masks of the patterns that arms have recorded, computed by the patterns themselves."""

import json
from collections.abc import Iterator
from typing import Any

from lcx_lightning.methods.masks import small_mask
from lcx_lightning.methods.patterns.base import Pattern
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.dashboard.masks import Mask, Patterns
from lcx_lightning.schema.build import TARGET, build
from lcx_lightning.schema.targets import is_public

PATTERNS = "lcx_lightning.patterns."
MULTIPLE = 4  # of L, up to which a mask is drawn
MOST = 36  # masks


def masks_of(experiment: Experiment) -> Patterns:
    """Return the mask of each distinct pattern, in the order of the arms, and how many there are beyond 36.

    Patterns of the user's own are not drawn: a file of a colleague runs no code.
    """
    arms: dict[tuple[str, int, int], tuple[dict[str, Any], list[str]]] = {}
    for arm in experiment.arms():
        info = experiment.runs_of(arm)[0].info
        pattern = ((info.get("config") or {}).get("method") or {}).get("pattern")
        length, lengths = info.get("pretrain_length"), info.get("lengths") or ()
        if isinstance(pattern, dict) and length and all(map(_is_ours, _targets(pattern))):
            drawn = min(max(lengths, default=length), MULTIPLE * length)
            key = (json.dumps(pattern, sort_keys=True), length, drawn)
            arms.setdefault(key, (pattern, []))[1].append(arm)
    found, left_out = list[Mask](), 0
    for (_, length, tokens), (given, names) in arms.items():
        try:
            pattern = build(given, "pattern")
        except ValueError:  # of another version
            continue
        if not isinstance(pattern, Pattern):
            continue
        if len(found) == MOST:
            left_out += 1
        else:
            mask = small_mask(pattern, tokens)
            found.append(Mask(_words(pattern, given), names, length, tokens, *mask))
    return Patterns(found, left_out)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [str(node[TARGET])] if TARGET in node else []
        for inner in node.values():
            yield from _targets(inner)


def _is_ours(target: str) -> bool:
    return target.startswith(PATTERNS) and is_public(target)


def _words(pattern: Pattern, given: dict[str, Any]) -> str:
    """A pattern with its sizes: "Lambda, window 256, sink tokens 4, distance limit none"."""
    values = {name: getattr(pattern, name, None) for name in given if name != TARGET}
    known = [
        f"{name.replace('_', ' ')} {'none' if value is None else f'{value:,}'}"
        for name, value in values.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    ]
    return ", ".join([type(pattern).__name__, *known])
