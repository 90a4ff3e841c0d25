"""Lambda-shaped attention with a distance limit (LM-Infinite, Han et al. 2023, arXiv:2308.16137).

Mask of Lambda(window=4, sink_tokens=2, distance_limit=4):

    #.......
    ##......
    ###.....
    ####....
    #####...
    =#####..
    ==.####.
    ==..####

Rows are queries, columns keys; `#` is seen at its true distance, `=` at the limit, `.` not at all.
"""

from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.methods.patterns.base import Band, Pattern, limited
from lcx_lightning.schema.checked import checked


class Lambda(Pattern):
    """See the last `window` tokens and the first `sink_tokens`, every pair rotated at min(distance, distance_limit).

    Window and limit are independent: tokens of the window that are farther away than the limit are rotated at the
    limit, and sinks that are nearer at their true distance. Who sees whom depends on indices, the distance on
    positions: where positions are sampled, as CLEX does in training, a token of the window may be beyond the limit.
    Where window and limit are equal, as in the paper and the authors' commands, the authors' code gives the same. Where
    they differ, it departs from the paper's min(distance, limit), which is computed here: every token of the window
    is at its true distance, also beyond the limit, and every sink beyond the window is at min(limit, keys - 1), also
    nearer than the limit.

    Args:
        window: Tokens in the local branch, the query included (distances 0 .. window - 1); n_local in the paper.
        sink_tokens: Tokens in the global branch; n_global in the paper, 10 to 100 there. 0 gives a plain window.
        distance_limit: Largest distance in tokens; L_pretrain in the paper. None keeps every pair at its true distance.

    Raises:
        ValueError: If window or distance_limit is below 1, or sink_tokens below 0.
    """

    @checked
    def __init__(self, *, window: PositiveInt, sink_tokens: NonNegativeInt, distance_limit: PositiveInt | None) -> None:
        self.window, self.sink_tokens = window, sink_tokens
        self.distance_limit = distance_limit

    def bands(self) -> list[Band]:
        near = Band(max_distance=self.window)
        far = Band(min_distance=self.window, first_keys=self.sink_tokens)
        bands = [near, far] if self.sink_tokens else [near]
        if self.distance_limit is None:
            return bands
        return [part for band in bands for part in limited(band, self.distance_limit)]
