"""LongRoPE: every pair slowed down by its own factor, found by search (Ding et al. 2024, arXiv:2402.13753)."""

import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.checks import number
from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.methods.scaling.ntk import NTKAware

NESTED = ("rope_parameters", "rope_scaling")  # keys of a config.json: in transformers 5, and before


class LongRoPE(FrequencyScaling):
    """Divide the frequency of pair i by lambda_i, from a short list up to the pretraining length, a long list beyond.

    The long list applies if s > 1, and is the same for every such s, as in transformers and the released checkpoints.
    Every token is rescaled: the number of leading tokens that the paper leaves unscaled is 0, as there. At factor 1
    frequencies are the pretrained ones only if the short list is 1 everywhere; a model that was fine-tuned on long
    texts has a short list of its own.

    The lists are found by a search for one model and one length, which is not part of this code. Take them from
    `short_factor` and `long_factor` in a checkpoint's config.json, or from your own search. Without lists, the short
    list is 1 everywhere, and the long list is that of NTK-aware scaling, s^(2i / (d - 2)), one of the three from which
    the paper's search starts; the others are those of Position Interpolation and YaRN.

    Args:
        spec: Rotary embedding of the checkpoint.
        factor: Scale factor s for which the long list is made if none is given.
        short: Divisors up to the pretraining length, one for each pair, fastest pair first; or None.
        long: Divisors beyond the pretraining length, one for each pair, fastest pair first; or None.
        file: Path of a JSON file with `short_factor` and `long_factor`, at its top level or in `rope_parameters` or
            `rope_scaling`, such as a config.json; or None.

    Raises:
        ValueError: If a list does not have one positive number for each pair, the file cannot be read, or both lists
            and a file are given.
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
        number("factor", factor, least=1)
        if file is not None:
            if short is not None or long is not None:
                raise ValueError(f"LongRoPE takes its lists from {file} or from short and long: give only one of them.")
            short, long = read_factor_lists(file)
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


def read_factor_lists(file: str) -> tuple[list[float], list[float]]:
    """Return the short and the long list in a JSON file.

    Raises:
        ValueError: If the file does not exist, is not JSON, or does not contain two lists of numbers.
    """
    try:
        content = json.loads(Path(file).expanduser().read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"LongRoPE cannot read its lists from {file}: {error}.") from error
    outer: dict[str, Any] = content if isinstance(content, dict) else {}
    for mapping in (outer, *(outer.get(key) or {} for key in NESTED)):
        lists = [mapping[key] for key in ("short_factor", "long_factor") if isinstance(mapping.get(key), list)]
        if len(lists) == 2 and all(isinstance(number, int | float) for number in chain(*lists)):
            return lists[0], lists[1]
    raise ValueError(f"LongRoPE needs lists short_factor and long_factor in {file}, or in its {' or '.join(NESTED)}.")
