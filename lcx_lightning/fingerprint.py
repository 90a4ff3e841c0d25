"""The fingerprint of a method: what it does to frequencies, positions, logits and visibility, and its hash."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lcx_lightning.attention.layer import within
from lcx_lightning.attention.rope import Rope
from lcx_lightning.method import Method

DIGITS = 6  # significant, of every number
DRAWS = (0, 1, 2)  # training placements that are looked at


@torch.no_grad()
def fingerprint(method: Method, lengths: Sequence[int], train_length: int | None) -> dict[str, Any]:
    """Return what the method does at every evaluated length, and in training.

    Args:
        method: Of which learned parts count with the values they have now.
        lengths: Evaluated context lengths in tokens, within the method's reach.
        train_length: Tokens; None if the method is not trained.
    """
    sights = {f"evaluation {n}": _sight(method, n, None) for n in lengths}
    if train_length is not None:
        sights |= {f"training {train_length}, draw {d}": _sight(method, train_length, d) for d in DRAWS}
    return sights


def digest(sights: dict[str, Any]) -> str:
    """Return a fingerprint as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(sights, sort_keys=True).encode()).hexdigest()[:16]


def _sight(method: Method, length: int, draw: int | None) -> dict[str, Any]:
    was_training = method.training
    rope = method.eval().rope(torch.ones(1, length, dtype=torch.bool), length, draw)
    method.train(was_training)
    rope = within(rope, method.scaling.spec.window)  # a pattern that sees farther than the model ever does is off
    probe = _probe(length)
    distances = _rotated_distances(rope, probe)
    return {
        "inv_freq": _numbers(rope.inv_freq),
        "feature_scale": _numbers(rope.feature_scale),
        "logit_scale": None if rope.logit_scale is None else _numbers(rope.logit_scale[:, probe]),
        "positions": _numbers(rope.key_pos[:, probe]),
        "distances": _numbers(distances[:, probe]),
        "keys seen": _numbers((distances >= 0).sum(dim=1)),
        "sum of distances": _numbers(distances.clamp(min=0).sum(dim=1)),
    }


def _probe(length: int) -> Tensor:
    """Return indices of about 24 tokens: first, last and powers of two from both ends."""
    powers = 2 ** torch.arange(0, 40)
    powers = powers[powers < length]
    return torch.cat([torch.tensor([0]), powers, length - powers]).unique()


def _rotated_distances(rope: Rope, probe: Tensor) -> Tensor:
    """Return the distance at which each pair of a probed query and a key is rotated, -1 where the key is not seen."""
    index, positions = rope.key_index[0], rope.key_pos[0]
    distances = torch.full((len(probe), len(index)), -1.0, dtype=torch.float64)
    for band in rope.bands:
        rotated = band.query_at(positions[probe])[:, None] - band.key_at(positions)[None, :]
        distances = torch.where(band.visible(index[probe, None], index[None, :]), rotated, distances)
    return distances


def _numbers(values: Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.double().flatten().tolist()]
