"""Capped distances: every earlier token, none farther away than a limit (LM-Infinite's limit alone, arXiv:2308.16137).

Mask of Capped(distance_limit=3):

    #.......
    ##......
    ###.....
    ####....
    =####...
    ==####..
    ===####.
    ====####

Rows are queries, columns keys; `#` is seen at its true distance, `=` at the limit, `.` not at all.
"""

from pydantic import PositiveInt

from lcx_lightning.methods.patterns.base import Band, Pattern, limited
from lcx_lightning.schema.checked import checked


class Capped(Pattern):
    """See every earlier token, rotated at min(distance, distance_limit).

    This is also the pattern of ReRoPE (Su 2023, https://kexue.fm/archives/9708), whose window w is the limit. ReRoPE's
    released code also multiplies queries by max(1, ln(n) / ln(L)): that is a temperature, in the method `rerope` and
    not in `rerope_without_log_n`.

    Args:
        distance_limit: Largest distance in tokens; L_pretrain in LM-Infinite, w in ReRoPE.

    Raises:
        ValueError: If distance_limit is below 1.
    """

    @checked
    def __init__(self, *, distance_limit: PositiveInt) -> None:
        self.distance_limit = distance_limit

    def bands(self) -> list[Band]:
        return limited(Band(), self.distance_limit)
