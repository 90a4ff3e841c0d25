"""Log-n: logits grow with the log of the number of keys (Chiang and Cholak 2022, arXiv:2202.12172; Su 2021)."""

import math

from jaxtyping import Float, Int
from torch import Tensor

from lcx_lightning.methods.temperature.base import Temperature


class LogN(Temperature):
    """Multiply the logits of a query that sees n tokens by ln(n) / ln(L).

    The option `log_scale` of the CLEX code (arXiv:2310.16450) is `clamp=False, per_pass=True`: there, queries with
    fewer than L keys are flattened, and all queries of a pass are scaled alike, so that results depend on how a text
    is cut into passes.

    Args:
        clamp: True leaves queries alone that see fewer than L tokens: max(1, ln(n) / ln(L)).
        per_pass: True takes for n the most that any query of the row sees in this pass; False what each one sees.
    """

    def __init__(self, *, clamp: bool, per_pass: bool) -> None:
        self.clamp, self.per_pass = clamp, per_pass

    def logit_scale(self, visible: Int[Tensor, "rows queries"], pretrain_length: int) -> Float[Tensor, "rows queries"]:
        n = visible.amax(dim=-1, keepdim=True).expand_as(visible) if self.per_pass else visible
        scale = n.float().log() / math.log(pretrain_length)
        return scale.clamp(min=1) if self.clamp else scale
