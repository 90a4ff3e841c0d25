"""Log-n: logits grow with the log of the number of keys (Chiang and Cholak 2022, arXiv:2202.12172; Su 2021)."""

import math

from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.temperature.base import Temperature
from lcx_lightning.schema.checked import checked


class LogN(Temperature):
    """Multiply the logits of a query that sees n tokens by ln(n) / ln(L).

    `clamp=False, per_pass=True` is the option `log_scale` of the released CLEX code (arXiv:2310.16450). There, a query
    that sees fewer than L tokens gets smaller logits, and all queries of a pass are scaled alike, so that results
    depend on the chunks in which a text is read.

    Args:
        clamp: Whether queries that see fewer than L tokens keep their logits: max(1, ln(n) / ln(L)).
        per_pass: Whether n is the largest number of tokens that any query of the row sees in this pass. If False, it is
            the number that each query sees.

    Raises:
        ValueError: If one of them is neither true nor false.
    """

    @checked
    def __init__(self, *, clamp: bool, per_pass: bool) -> None:
        self.clamp, self.per_pass = clamp, per_pass

    def logit_scale(self, visible: Int[Tensor, "rows queries"], pretrain_length: int) -> Float[Tensor, "rows queries"]:
        n = visible.amax(dim=-1, keepdim=True).expand_as(visible) if self.per_pass else visible
        scale = n.float().log() / math.log(pretrain_length)
        return scale.clamp(min=1) if self.clamp else scale
