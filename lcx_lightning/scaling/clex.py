"""CLEX: frequencies as the solution of a neural ODE in the scale factor (Chen et al. 2023, arXiv:2310.16450)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchdiffeq import odeint

from lcx_lightning.scaling.base import FrequencyScaling, RopeSpec

SOLVERS = ("euler", "midpoint", "heun3", "rk4")  # of torchdiffeq, with fixed steps: equally many whatever is learned


class CLEX(FrequencyScaling):
    """Integrate d ln(theta) / dt from t = 1 to the scale factor: the drift of NTK-aware scaling plus an MLP.

    The drift is known in closed form, ln(theta_i(t)) = ln(theta_i(1)) - i / (d - 2) * ln(alpha), i = 0, 2, 4 ... We
    integrate only the rest, y = ln(theta) - ln(theta_drift), in the time u = ln(alpha), in which the drift is a
    straight line: dt = alpha / alpha_slope du. The solution is the same, and needs far fewer steps.

    `activation`, `alpha_slope` and `input_base` name where the released code leaves the paper. How t and the positions
    are sampled is in `lcx_lightning.positions.sampled`; `log_scale` of the code is a temperature.

    Args:
        spec: The rotary embedding of the checkpoint.
        width: Hidden features of the MLP per rotated feature; lambda in the paper, param_factor in the code.
        activation: Of the hidden features: tanh in the released code, SiLU in the paper and in CLEX-7B-16K.
        alpha_slope: alpha = 1 + alpha_slope * (t - 1). 2 in the released code, alpha = 2t - 1; 1 for the paper's t.
        input_base: The released code adds to the state ln(theta) that its MLP reads the logarithm of the NTK-aware
            frequencies at alpha, always of base 10 000 whatever the model's is. None: the MLP reads ln(theta) alone, as
            in the paper.
        solver: Of torchdiffeq: euler, midpoint, heun3 or rk4.
        step: Largest step in u; with rk4, 0.25 is accurate to 1e-5 on trained fields.
        trainable: False freezes the field at its start, the drift alone.

    Raises:
        ValueError: If a number is not positive or the solver is not one of those.
    """

    def __init__(
        self,
        spec: RopeSpec,
        *,
        width: float,
        activation: nn.Module,
        alpha_slope: float,
        input_base: float | None,
        solver: str,
        step: float,
        trainable: bool,
    ) -> None:
        super().__init__(spec)
        pairs, hidden = spec.dim // 2, round(width * spec.dim)
        if hidden < 1 or step <= 0 or alpha_slope <= 0 or (input_base is not None and input_base <= 0):
            raise ValueError(
                "CLEX needs width, step, alpha_slope and input_base above 0 (or input_base null), got "
                f"{width=}, {step=}, {alpha_slope=}, {input_base=}."
            )
        if solver not in SOLVERS:
            raise ValueError(f"CLEX needs a solver with fixed steps: {', '.join(SOLVERS)}; got {solver!r}.")
        self.alpha_slope, self.input_base = alpha_slope, input_base
        self.activation, self.solver, self.step = activation, solver, step
        self.up = nn.Linear(pairs, hidden, bias=False)
        self.down = nn.Linear(hidden, pairs, bias=False)
        nn.init.uniform_(self.up.weight, -(hidden**-0.5), hidden**-0.5)  # as the released code draws it
        nn.init.zeros_(self.down.weight)  # start at the drift
        self.requires_grad_(trainable)

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        alpha = 1 + self.alpha_slope * (factor.to(self.up.weight.device, torch.float32) - 1)
        # integrate at factor 1 too, so that every pass has a gradient
        ends, row_end = alpha.log().clamp(min=1e-6).unique(return_inverse=True)
        times = torch.cat([ends.new_zeros(1), ends])
        start = torch.zeros(self.spec.dim // 2, device=times.device)
        options = {"step_size": self.step, "interp": "cubic"}  # ends between two steps; linear would be 1% off
        residual = odeint(self._velocity, start, times, method=self.solver, options=options)
        assert isinstance(residual, Tensor)
        return (self._log_drift(ends) + residual[1:]).exp()[row_end]

    def load_released(self, up: Float[Tensor, "pairs hidden"], down: Float[Tensor, "hidden pairs"]) -> None:
        """Take over the weights of the released code, `ode_up_proj` and `ode_down_proj`, which act from the right.

        Raises:
            ValueError: If their shapes are not those of this field.
        """
        if up.T.shape != self.up.weight.shape or down.T.shape != self.down.weight.shape:
            pairs, hidden = self.up.weight.T.shape
            raise ValueError(
                f"A CLEX of {pairs} pairs and {hidden} hidden features needs ode_up_proj [{pairs}, {hidden}] and "
                f"ode_down_proj [{hidden}, {pairs}], got {list(up.shape)} and {list(down.shape)}: set width to theirs."
            )
        with torch.no_grad():
            self.up.weight.copy_(up.T)
            self.down.weight.copy_(down.T)

    def _log_drift(self, u: Float[Tensor, "*times"]) -> Float[Tensor, "*times pairs"]:
        """Return ln(theta) of NTK-aware scaling at alpha = exp(u)."""
        return self.spec.inv_freq().to(u.device).log() + self._log_slowdown(u)

    def _log_slowdown(self, u: Float[Tensor, "*times"]) -> Float[Tensor, "*times pairs"]:
        """Return -i / (d - 2) * u."""
        return -self._even(u) / (self.spec.dim - 2) * u[..., None]

    def _even(self, like: Tensor) -> Float[Tensor, " pairs"]:
        return torch.arange(0, self.spec.dim, 2, device=like.device, dtype=torch.float32)

    def _velocity(self, u: Float[Tensor, ""], residual: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        """Return dy / du."""
        seen = residual + self._log_drift(u)
        if self.input_base is not None:
            seen = seen - self._even(u) / self.spec.dim * math.log(self.input_base) + self._log_slowdown(u)
        return self.down(self.activation(self.up(seen))) * u.exp() / self.alpha_slope
