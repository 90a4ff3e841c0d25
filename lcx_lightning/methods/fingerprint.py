"""The fingerprint of a method: its frequencies, positions, logit scales and visible pairs at given lengths, hashed."""

import hashlib
import json
import math
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lcx_lightning.methods.method import Method
from lcx_lightning.methods.rope import Rope
from lcx_lightning.methods.rope_views import clip_to_window
from lcx_lightning.methods.trial import tried_pass, try_out

PAIRS = 2**17  # of queries and keys whose distances are computed at a time
DIGITS = 6  # significant digits that are kept of every number
DRAWS = (0, 1, 2)  # placement seeds of the training passes that are included
TOLERANCE = 1e-5  # relative tolerance for frequencies: the last digits of an ODE solver do not count as a difference


@torch.no_grad()
def fingerprint(method: Method, lengths: Sequence[int], train_length: int | None) -> dict[str, Any]:
    """Return the numbers that characterise the method, by pass: one for each evaluated length, and three of training.

    Args:
        method: Method to describe. Learned parameters count with their current values.
        lengths: Evaluated context lengths in tokens, none longer than the method supports.
        train_length: Length of a training row in tokens, or None if the method is not trained.

    Raises:
        MethodError: If a part of the method fails, or computes what makes no sense, such as NaN.
    """
    try_out(method)
    return {
        name: _pass_numbers(method, n, placement_seed) for name, n, placement_seed in _passes(lengths, train_length)
    }


def alike(passes: dict[str, Any], others: dict[str, Any]) -> bool:
    """Return whether two fingerprints are equal: the same passes, frequencies up to rounding, all else exactly."""
    return passes.keys() == others.keys() and all(
        _alike(mine, other) if what == "inv_freq" else mine == other
        for name, numbers in passes.items()
        for (what, mine), other in zip(numbers.items(), others[name].values(), strict=True)
    )


def _alike(mine: list[float], other: list[float]) -> bool:
    return len(mine) == len(other) and all(
        math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(mine, other, strict=True)
    )


def digest(passes: dict[str, Any]) -> str:
    """Return a fingerprint as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(passes, sort_keys=True).encode()).hexdigest()[:16]


class PassSummary(NamedTuple):
    """What a method does in one pass over a text of some length, for people to read."""

    name: str  # such as "evaluation 512"
    factor: float  # scale factor s
    feature_scale: float  # factor by which the rotated features of queries and of keys are multiplied
    logit_scale: tuple[float, float] | None  # factor of the logits of the first and the last query; None: unscaled
    last_position: float  # position of the last token
    distances: str  # keys that the last query sees, by distance in tokens, and the distances they are rotated at
    inv_freq: list[float]  # radians per token, fastest pair first


@torch.no_grad()
def summarize_passes(method: Method, lengths: Sequence[int], train_length: int | None) -> list[PassSummary]:
    """Return a short summary of every pass that `fingerprint` includes."""
    return [_summarize(method, *one) for one in _passes(lengths, train_length)]


def _summarize(method: Method, name: str, length: int, placement_seed: int | None) -> PassSummary:
    rope = _rope(method, length, placement_seed)
    place = method.positions.place(torch.tensor([length]), method.scaling.spec.pretrain_length, placement_seed)
    scale = None if rope.logit_scale is None else (float(rope.logit_scale[0, 0]), float(rope.logit_scale[0, -1]))
    return PassSummary(
        name=name,
        factor=float(place.factor[0]),
        feature_scale=float(rope.feature_scale[0]),
        logit_scale=scale,
        last_position=float(rope.key_pos[0, -1]),
        distances=_distances(rope),
        inv_freq=rope.inv_freq[0].tolist(),
    )


def _distances(rope: Rope) -> str:
    """Return the ranges of distances that the last query sees, nearest first: "0-127 as they are, 128-200 at 128"."""
    true = (rope.key_pos[0, -1] - rope.key_pos[0]).flip(0).tolist()
    rotated = _rotated_distances(rope, torch.tensor([len(true) - 1]))[0].flip(0).tolist()
    kinds = ["unseen" if r < 0 else "as they are" if r == t else "at" for t, r in zip(true, rotated, strict=True)]
    starts = [i for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]
    runs = []
    for first, last in zip(starts, [*(start - 1 for start in starts[1:]), len(kinds) - 1], strict=True):
        at = " to ".join(f"{value:g}" for value in dict.fromkeys((rotated[first], rotated[last])))
        words = f"at {at}" if kinds[first] == "at" else kinds[first]
        runs.append(f"{f'{first}-{last}' if last > first else first} {words}")
    return ", ".join(runs)


def _passes(lengths: Sequence[int], train_length: int | None) -> list[tuple[str, int, int | None]]:
    """Return name, length in tokens and placement seed of every pass that is included."""
    passes: list[tuple[str, int, int | None]] = [(f"evaluation {n}", n, None) for n in lengths]
    if train_length is not None:
        passes += [(f"training {train_length}, draw {d}", train_length, d) for d in DRAWS]
    return passes


def _rope(method: Method, length: int, placement_seed: int | None) -> Rope:
    rope = tried_pass(method, length, placement_seed)
    # a pattern whose pairs all lie beyond the model's native window has no effect
    return clip_to_window(rope, method.scaling.spec.window)


def _pass_numbers(method: Method, length: int, placement_seed: int | None) -> dict[str, Any]:
    rope = _rope(method, length, placement_seed)
    logit_scale = rope.logit_scale  # a scale of 1 everywhere counts as no scale
    sample = _sampled_indices(length)
    some = sample.split(max(1, PAIRS // length))
    distances, seen, total = zip(*(_distances_of(rope, queries, sample) for queries in some), strict=True)
    return {
        "inv_freq": _numbers(rope.inv_freq),
        "feature_scale": _numbers(rope.feature_scale),
        "logit_scale": [] if logit_scale is None or (logit_scale == 1).all() else _numbers(logit_scale[:, sample]),
        "positions": _numbers(rope.key_pos[:, sample]),
        "distances": _numbers(torch.cat(distances)),
        "keys seen": _numbers(torch.cat(seen)),
        "sum of distances": _numbers(torch.cat(total)),
        "selection": _selection(rope, sample),
    }


def _distances_of(rope: Rope, queries: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rotated distances from queries to the sampled keys, how many keys each sees, and their total distance.

    A few queries at a time: in a stream of millions of tokens, the distances of all would not fit in memory.
    """
    distances = _rotated_distances(rope, queries)
    return distances[:, sample], (distances >= 0).sum(dim=1), distances.clamp(min=0).sum(dim=1)


def _sampled_indices(length: int) -> Tensor:
    """Return the indices of about 24 tokens: the first, the last, and those at powers of two from both ends."""
    powers = 2 ** torch.arange(0, 40)
    powers = powers[powers < length]
    return torch.cat([torch.tensor([0]), powers, length - powers]).unique()


def _selection(rope: Rope, sample: Tensor) -> list[float] | None:
    """Return the settings and the candidates of the last query's selection, or None if it has no candidates."""
    if rope.selection is None:
        return None
    selecting, selection = copy(rope), rope.selection
    selecting.bands = [selection.candidates]
    distances = _rotated_distances(selecting, sample[-1:])
    candidates = distances[distances >= 0]
    if not len(candidates):
        return None
    return _numbers(torch.tensor([selection.tokens, selection.first_layer, len(candidates), candidates.sum()]))


def _rotated_distances(rope: Rope, queries: Tensor) -> Tensor:
    """Return the distance at which each pair of the given queries and all keys is rotated, -1 if it is not seen."""
    index, positions = rope.key_index[0], rope.key_pos[0]
    distances = torch.full((len(queries), len(index)), -1.0, dtype=torch.float64)
    for band in rope.bands:
        rotated = band.query_at(positions[queries])[:, None] - band.key_at(positions)[None, :]
        seen = band.visible(index[queries, None], index[None, :], positions[queries, None], positions[None, :])
        distances = torch.where(seen, rotated, distances)
    return distances


def _numbers(values: Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.double().flatten().tolist()]
