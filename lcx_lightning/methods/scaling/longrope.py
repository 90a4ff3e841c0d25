"""LongRoPE: every pair slowed down by its own factor, found by search (Ding et al. 2024, arXiv:2402.13753)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from lcx_lightning.methods.longrope_file import read_longrope_file
from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.methods.scaling.ntk import NTKAware
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.files import naming
from lcx_lightning.schema.kinds import Factor


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
        factor: Scale factor s for which the long list is made if none is given; that of the file, if it states one.
        short: Divisors up to the pretraining length, one for each pair, fastest pair first; or None.
        long: Divisors beyond the pretraining length, one for each pair, fastest pair first; or None.
        file: Path of a JSON file with `short_factor` and `long_factor`, at its top level or in `rope_parameters` or
            `rope_scaling`, such as a config.json; or None.

    Raises:
        ValueError: If a list does not have one positive number for each pair, the file cannot be read or is for another
            factor or pretraining length, both lists and a file are given, or the checkpoint already starts from a
            scaling and would be divided by the lists of a file again.
    """

    pretrained_at_one = False

    @checked
    def __init__(
        self,
        spec: RopeSpec,
        *,
        factor: Factor,
        short: Sequence[PositiveFloat] | None,
        long: Sequence[PositiveFloat] | None,
        file: str | None,
    ) -> None:
        super().__init__(spec)
        if file is not None:
            if short is not None or long is not None:
                raise ValueError(f"LongRoPE takes its lists from {file} or from short and long: give only one of them.")
            if spec.checkpoint_inv_freq is not None:
                raise ValueError(
                    f"This checkpoint already starts from scaled frequencies, and the lists of {file} would be applied "
                    "on top of them. Set model.source.own_scaling=false to start from its unscaled ones."
                )
            read = read_longrope_file(file)
            read.check(factor, spec.pretrain_length, file)
            short, long = read.short, read.long
        unscaled = spec.inv_freq()
        ntk = NTKAware(spec)(torch.tensor([float(factor)]))[0]
        with naming(file or ""):
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
