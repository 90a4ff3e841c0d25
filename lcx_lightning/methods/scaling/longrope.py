"""LongRoPE: every pair slowed down by a number of its own, found by search (Ding et al. 2024, arXiv:2402.13753)."""

import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.methods.scaling.ntk import NTKAware

NESTED = ("rope_parameters", "rope_scaling")  # of a config.json, in transformers 5 and before


class LongRoPE(FrequencyScaling):
    """Divide the frequency of pair i by lambda_i: a short list up to the pretraining length, a long list beyond it.

    The list is chosen by s > 1 and does not change with s, as in transformers and the released checkpoints. Every
    token is rescaled: the number of leading tokens that the paper leaves alone is 0, as there. At factor 1 this is
    pretraining only if the short list says so; a model that was fine-tuned on long texts has its own short list.

    The lists are searched for one model and one length, and we do not search. Take them from the `short_factor` and
    `long_factor` of a checkpoint's config.json, or from a search. A list that is not given is not a searched one: the
    short list is 1 everywhere, the long list is NTK-aware scaling's s^(2i / (d - 2)), with which, beside those of
    Position Interpolation and YaRN, the paper's search starts.

    Args:
        spec: The rotary embedding of the checkpoint.
        factor: s for which the long list is made where none is given.
        short: One number for each pair, fastest first, or None.
        long: The same, beyond the pretraining length.
        file: Path of a JSON file with `short_factor` and `long_factor`, also inside `rope_parameters` or
            `rope_scaling`, such as a config.json; or None.

    Raises:
        ValueError: If a list has not one positive number for each pair, the file cannot be read, or lists and a file
            are given.
    """

    pretrained_at_one = False

    def __init__(
        self,
        spec: RopeSpec,
        *,
        factor: float,
        short: Sequence[float] | None,
        long: Sequence[float] | None,
        file: str | None,
    ) -> None:
        super().__init__(spec)
        if factor < 1:
            raise ValueError(f"LongRoPE needs factor >= 1, got {factor}.")
        if file is not None:
            if short is not None or long is not None:
                raise ValueError(f"LongRoPE takes its lists from {file} or from short and long: give one of them.")
            short, long = lists_of(file)
        unscaled = spec.inv_freq()
        ntk = NTKAware(spec)(torch.tensor([float(factor)]))[0]
        self.short = torch.ones_like(unscaled) if short is None else self._checked("short", short)
        self.long = unscaled / ntk if long is None else self._checked("long", long)

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        kept, short, long = (x.to(factor.device) for x in (self.spec.inv_freq(), self.short, self.long))
        return kept / torch.where(factor[:, None] > 1, long, short)

    def _checked(self, name: str, numbers: Sequence[float]) -> Float[Tensor, " pairs"]:
        pairs = self.spec.dim // 2
        if len(numbers) != pairs or not all(0 < number < math.inf for number in numbers):
            raise ValueError(
                f"LongRoPE needs one number above 0 for each of the {pairs} pairs of {self.spec.dim} rotated features, "
                f"got a {name} list of {len(numbers)}: {', '.join(map(str, numbers[:4]))} ..."
            )
        return torch.tensor(numbers, dtype=torch.float32)


def lists_of(file: str) -> tuple[list[float], list[float]]:
    """Return the short and the long list of a JSON file.

    Raises:
        ValueError: If there is no such file, it is not JSON, or it has not two lists of numbers.
    """
    try:
        content = json.loads(Path(file).expanduser().read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"LongRoPE cannot read its lists from {file}: {error}.") from error
    outer: dict[str, Any] = content if isinstance(content, dict) else {}
    for place in (outer, *(outer.get(key) or {} for key in NESTED)):
        lists = [place[key] for key in ("short_factor", "long_factor") if isinstance(place.get(key), list)]
        if len(lists) == 2 and all(isinstance(number, int | float) for number in chain(*lists)):
            return lists[0], lists[1]
    raise ValueError(f"LongRoPE needs lists short_factor and long_factor in {file}, or in its {' or '.join(NESTED)}.")
