"""Causal attention: every earlier token, at its true distance (Vaswani et al. 2017, arXiv:1706.03762).

Mask of Causal():

    #.......
    ##......
    ###.....
    ####....
    #####...
    ######..
    #######.
    ########

Rows are queries, columns keys; `#` is seen at its true distance, `.` is not seen.
"""

from lcx_lightning.methods.patterns.base import Band, Pattern


class Causal(Pattern):
    """See every earlier token at its true distance."""

    def bands(self) -> list[Band]:
        return [Band()]
