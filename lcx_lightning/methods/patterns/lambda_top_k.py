"""Lambda-shaped attention with top-k middle tokens (LM-Infinite, Han et al. 2023, arXiv:2308.16137).

Mask of LambdaTopK(window=3, sink_tokens=2, distance_limit=3, middle_tokens=2, middle_distance=2, first_layer=0.0):

    #.......
    ##......
    ###.....
    ####....
    =####...
    ==.###..
    ==..###.
    ==???###

Rows are queries, columns keys; `#` is seen at its true distance, `=` at the limit, `.` not at all. From the keys
marked `?` every head selects those that the last query sees.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern, Selection
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.schema.checked import checked


class LambdaTopK(Pattern):
    """See what `Lambda` sees; the last query of a pass also sees the middle tokens with the largest logits.

    Middle tokens are those after the sinks and before the window. All of them are rotated at one distance, and every
    head selects for itself by the logits at that distance. As in the released code, only the last query selects: the
    last one of a prompt, and every generated one. If a text is read in other chunks, other queries select.

    The released code selects nothing if there are fewer than `middle_tokens` middle tokens; here all are selected then.

    Args:
        window: Tokens in the local branch, as for `Lambda`.
        sink_tokens: Tokens in the global branch, as for `Lambda`.
        distance_limit: Largest distance in tokens, or None, as for `Lambda`.
        middle_tokens: Number of middle tokens that each head selects; k in the paper, 5 there.
        middle_distance: Distance in tokens at which every middle token is seen; L_pretrain / 2 in the paper.
        first_layer: Share of the layers, counted from the first one, that select nothing: 4 of 32 in the authors'
            commands, 5 of 32 in the paper. Below 1, so that the last layer always selects.

    Raises:
        ValueError: If a size is below 1, sink_tokens below 0, or first_layer not in [0, 1).
    """

    @checked
    def __init__(
        self,
        *,
        window: PositiveInt,
        sink_tokens: NonNegativeInt,
        distance_limit: PositiveInt | None,
        middle_tokens: PositiveInt,
        middle_distance: PositiveInt,
        first_layer: Annotated[float, Ge(0), Lt(1)],
    ) -> None:
        self.base = Lambda(window=window, sink_tokens=sink_tokens, distance_limit=distance_limit)
        self.middle_tokens = middle_tokens
        self.middle_distance = middle_distance
        self.first_layer = first_layer

    def bands(self) -> list[Band]:
        return self.base.bands()

    def selection(self) -> Selection | None:
        middle = Band(
            min_distance=self.base.window,
            skipped_keys=self.base.sink_tokens,
            query_at=self._at_distance,
            key_at=torch.zeros_like,
        )
        return Selection(middle, self.middle_tokens, self.first_layer)

    def _at_distance(self, position: Tensor) -> Tensor:
        return torch.full_like(position, self.middle_distance)
