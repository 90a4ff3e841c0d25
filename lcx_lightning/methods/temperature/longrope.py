"""Temperature of LongRoPE: sharper attention for a longer target length (arXiv:2402.13753; transformers)."""

import math
from typing import Annotated

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from lcx_lightning.methods.longrope_file import read_longrope_file
from lcx_lightning.methods.temperature.base import Temperature
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Factor


class LongRoPETemperature(Temperature):
    """Multiply the rotated features of queries and keys by sqrt(1 + ln(s) / ln(L)), at every length.

    As in transformers and the released checkpoints, s is the factor by which the model was extended, not that of the
    current context: a short context has the same scale. At factor 1, attention therefore differs from pretraining.

    The file of a checkpoint may state another scale, its `attention_factor`.

    Args:
        factor: Scale factor s, the target length over the pretraining length; that of the file, if it states one.
        pretrain_length: Pretraining length L in tokens.
        lists: Path of the JSON file from which the lists come, whose attention_factor counts; or None.

    Raises:
        ValueError: If factor is below 1 or pretrain_length below 2, or the file cannot be read or is for another factor
            or pretraining length.
    """

    pretrained_at_one = False

    @checked
    def __init__(self, *, factor: Factor, pretrain_length: Annotated[int, Ge(2)], lists: str | None) -> None:
        stated = None
        if lists is not None:
            read = read_longrope_file(lists)
            read.check(factor, pretrain_length, lists)
            stated = read.attention_factor
        self.scale = stated or math.sqrt(1 + math.log(factor) / math.log(pretrain_length))

    def feature_scale(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        return factor.new_full(factor.shape, self.scale)
