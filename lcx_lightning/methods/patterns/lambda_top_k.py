"""Lambda-shaped attention and the top-k tokens in between (LM-Infinite, Han et al. 2023, arXiv:2308.16137)."""

import torch
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern, Selection
from lcx_lightning.methods.patterns.lambda_mask import Lambda


class LambdaTopK(Pattern):
    """See what `Lambda` sees; the last query of a pass also sees the middle tokens of the largest logits.

    Middle tokens are those before the window and after the sinks. All of them are placed at one distance, and every
    head chooses for itself by the logits that this gives. As in the released code, only the last query chooses: the
    last one of a prompt, and every one that is generated. Reading a text in other chunks lets other queries choose.

    The released code chooses none where there are fewer than `middle_tokens` to choose from; here all of them are.

    Args:
        window: As of Lambda.
        sink_tokens: As of Lambda.
        distance_limit: As of Lambda.
        middle_tokens: k, 5 in the paper.
        middle_distance: Tokens at which the query sees every middle token, L_pretrain / 2 in the paper.
        first_layer: Share of the layers, from the first one on, that choose none: 4 of 32 in the commands of the
            authors, 5 of 32 in the paper. Below 1, so that the last layer always chooses.

    Raises:
        ValueError: If a size is below 1, sink_tokens below 0, or first_layer not in [0, 1).
    """

    def __init__(
        self,
        *,
        window: int,
        sink_tokens: int,
        distance_limit: int | None,
        middle_tokens: int,
        middle_distance: int,
        first_layer: float,
    ) -> None:
        self.shape = Lambda(window=window, sink_tokens=sink_tokens, distance_limit=distance_limit)
        if middle_tokens < 1 or middle_distance < 1 or not 0 <= first_layer < 1:
            raise ValueError(
                "Top-k middle tokens need middle_tokens >= 1, middle_distance >= 1 and a share 0 <= first_layer < 1 "
                f"(layer 4 of 32 is 0.125), got {middle_tokens=}, {middle_distance=}, {first_layer=}."
            )
        self.middle_tokens, self.middle_distance, self.first_layer = middle_tokens, middle_distance, first_layer

    def bands(self) -> list[Band]:
        return self.shape.bands()

    def selection(self) -> Selection | None:
        middle = Band(
            min_distance=self.shape.window,
            skipped_keys=self.shape.sink_tokens,
            query_at=self._at_distance,
            key_at=torch.zeros_like,
        )
        return Selection(middle, self.middle_tokens, self.first_layer)

    def _at_distance(self, position: Tensor) -> Tensor:
        return torch.full_like(position, self.middle_distance)
