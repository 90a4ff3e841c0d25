"""A window and attention sinks, at their positions within the cache (StreamingLLM, Xiao et al. 2023, arXiv:2309.17453).

Mask of StreamingLLM(window=3, sink_tokens=2):

    #.......
    ##......
    ###.....
    ####....
    #####...
    ==.###..
    ==..###.
    ==...###

Rows are queries, columns keys; `#` is seen at its true distance, `=` at its distance in the cache, `.` not at all.
"""

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.methods.patterns.base import Band, Pattern
from lcx_lightning.schema.checked import checked


class StreamingLLM(Pattern):
    """See the last `window` tokens and the first `sink_tokens`, at their distances within a cache of only these.

    A token of the window keeps its true distance. From query q, sink token k is at distance
    min(q, sink_tokens + window - 1) - k. With sampled positions both q and k are clamped to
    sink_tokens + window - 1, so that no sink is rotated beyond its query.

    Args:
        window: Tokens of the rolling cache, the query included (distances 0 .. window - 1).
        sink_tokens: Number of attention sinks, 4 in the paper. 0 gives a plain window.

    Raises:
        ValueError: If window is below 1, or sink_tokens below 0.
    """

    @checked
    def __init__(self, *, window: PositiveInt, sink_tokens: NonNegativeInt) -> None:
        self.window, self.sink_tokens = window, sink_tokens

    def bands(self) -> list[Band]:
        near = Band(max_distance=self.window)
        sinks = Band(
            min_distance=self.window, first_keys=self.sink_tokens, query_at=self._in_cache, key_at=self._in_cache
        )
        return [near, sinks] if self.sink_tokens else [near]

    def _in_cache(self, position: Tensor) -> Tensor:
        return position.clamp(max=self.sink_tokens + self.window - 1)
