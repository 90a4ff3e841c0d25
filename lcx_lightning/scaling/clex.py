"""CLEX: frequencies as the solution of a neural ODE in the scale factor (Chen et al. 2023, arXiv:2310.16450)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchdiffeq import odeint

from lcx_lightning.scaling.base import FrequencyScaling, RopeSpec


class CLEX(FrequencyScaling):
    """Integrate d ln(theta) / dt from t = 1 to the scale factor: the drift of NTK-aware scaling plus an MLP.

    The released code drifts with ln(theta_i(t)) = ln(theta_i(1)) - i / (d - 2) * ln(2t - 1), i = 0, 2, 4 ..., which is
    known in closed form. We integrate only the rest, y = ln(theta) - ln(theta_drift), in the time u = ln(2t - 1), in
    which the drift is a straight line: dt = (2t - 1) / 2 du. The solution is the same, and needs far fewer steps.

    Args:
        spec: The rotary embedding of the checkpoint.
        width: Hidden features of the MLP per rotated feature; lambda in the paper.
        step: Largest Runge-Kutta step in u; 0.25 is accurate to 1e-5 on trained fields.
        activation: Of the hidden features: tanh in the released code, SiLU in the released CLEX-7B-16K.
        trainable: False freezes the field at its start, the drift alone.

    Raises:
        ValueError: If width or step is not positive.
    """

    def __init__(self, spec: RopeSpec, *, width: float, step: float, activation: nn.Module, trainable: bool) -> None:
        super().__init__(spec)
        pairs, hidden = spec.dim // 2, round(width * spec.dim)
        if hidden < 1 or step <= 0:
            raise ValueError(f"CLEX needs width and step above 0, got {width=} and {step=}.")
        self.step, self.activation = step, activation
        self.up = nn.Linear(pairs, hidden, bias=False)
        self.down = nn.Linear(hidden, pairs, bias=False)
        nn.init.uniform_(self.up.weight, -(hidden**-0.5), hidden**-0.5)  # as the released code draws it
        nn.init.zeros_(self.down.weight)  # start at the drift: NTK-aware scaling with alpha = 2t - 1
        self.requires_grad_(trainable)

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        alpha = 2 * factor.to(self.up.weight.device, torch.float32) - 1
        # integrate at factor 1 too, so that every pass has a gradient
        ends, row_end = alpha.log().clamp(min=1e-6).unique(return_inverse=True)
        times = torch.cat([ends.new_zeros(1), ends])
        start = torch.zeros(self.spec.dim // 2, device=times.device)
        options = {"step_size": self.step, "interp": "cubic"}  # ends between two steps; linear would be 1% off
        residual = odeint(self._velocity, start, times, method="rk4", options=options)
        assert isinstance(residual, Tensor)
        return (self._log_drift(ends) + residual[1:]).exp()[row_end]

    def _log_drift(self, u: Float[Tensor, "*times"]) -> Float[Tensor, "*times pairs"]:
        """Return ln(theta) of NTK-aware scaling at alpha = exp(u)."""
        even = torch.arange(0, self.spec.dim, 2, device=u.device)
        return self.spec.inv_freq().to(u.device).log() - even / (self.spec.dim - 2) * u[..., None]

    def _velocity(self, u: Float[Tensor, ""], residual: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        """Return dy / du. The network reads ln(theta) + ln(theta_drift), as in the released code."""
        seen = residual + 2 * self._log_drift(u)
        return self.down(self.activation(self.up(seen))) * u.exp() / 2
