"""CLEX: frequencies as the solution of a neural ODE in the scale factor (Chen et al. 2023, arXiv:2310.16450)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchdiffeq import odeint

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec

SOLVERS = ("euler", "midpoint", "heun3", "rk4")  # of torchdiffeq, with fixed steps: equally many whatever is learned
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "silu": nn.SiLU}


class CLEX(FrequencyScaling):
    """Integrate d ln(theta) / dt from t = 1 to the scale factor: the drift of NTK-aware scaling plus an MLP.

    The drift is known in closed form, ln(theta_i(t)) = ln(theta_i(1)) - i / (d - 2) * ln(alpha), i = 0, 2, 4 ... We
    integrate only the rest, y = ln(theta) - ln(theta_drift), in the time w = sqrt(alpha), dt = 2 w / alpha_slope dw:
    what the MLP reads moves with ln(alpha), fastest at t = 1, while dy / dt is of one size throughout, so that equal
    steps in w suit both. The solution is the same, and needs far fewer steps. Each row takes equally many, up to its
    own end, so that no row changes another.

    `activation`, `alpha_slope` and `input_base` name where the released code leaves the paper. How t and the positions
    are sampled is in `lcx_lightning.positions.sampled`; `log_scale` of the code is a temperature.

    Args:
        spec: The rotary embedding of the checkpoint.
        width: Hidden features of the MLP per rotated feature; lambda in the paper, param_factor in the code.
        activation: Function of hidden features: `tanh` in the released code, `silu` in the paper and in CLEX-7B-16K.
        alpha_slope: alpha = 1 + alpha_slope * (t - 1). 2 in the released code, alpha = 2t - 1; 1 for the paper's t.
        input_base: The released code adds to the state ln(theta) that its MLP reads the logarithm of the NTK-aware
            frequencies at alpha, always of base 10 000 whatever the model's is. None: the MLP reads ln(theta) alone, as
            in the paper.
        solver: Of torchdiffeq: euler, midpoint, heun3 or rk4.
        steps: From t = 1 to the factor of a row. With rk4, 6 are accurate to 1e-5, gradients too, on a field that moves
            ln(theta) by 4 up to t = 16; in ln(alpha) it takes 10, in t 14. Farther ways and stronger fields
            need more: 6 are accurate to 1e-3 up to t = 64, on a field that moves ln(theta) by 18.
        trainable: False freezes the field at its start, the drift alone.

    Raises:
        ValueError: If a number is not positive, the solver is not one of those, or the model rotates a single pair.
    """

    def __init__(
        self,
        spec: RopeSpec,
        *,
        width: float,
        activation: str,
        alpha_slope: float,
        input_base: float | None,
        solver: str,
        steps: int,
        trainable: bool,
    ) -> None:
        super().__init__(spec)
        spec.ntk_exponent()  # refuses now
        pairs, hidden = spec.dim // 2, round(width * spec.dim)
        if hidden < 1 or steps < 1 or alpha_slope <= 0 or (input_base is not None and input_base <= 0):
            raise ValueError(
                "CLEX needs width, steps, alpha_slope and input_base above 0 (or input_base null), got "
                f"{width=}, {steps=}, {alpha_slope=}, {input_base=}."
            )
        if solver not in SOLVERS:
            raise ValueError(f"CLEX needs a solver with fixed steps: {', '.join(SOLVERS)}; got {solver!r}.")
        if activation not in ACTIVATIONS:
            raise ValueError(f"CLEX needs an activation of {' or '.join(ACTIVATIONS)}, got {activation!r}.")
        self.alpha_slope, self.input_base = alpha_slope, input_base
        self.activation, self.solver, self.steps = ACTIVATIONS[activation](), solver, steps
        self.up = nn.Linear(pairs, hidden, bias=False)
        self.down = nn.Linear(hidden, pairs, bias=False)
        nn.init.uniform_(self.up.weight, -(hidden**-0.5), hidden**-0.5)  # as the released code draws it
        nn.init.zeros_(self.down.weight)  # start at the drift
        self.requires_grad_(trainable)

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        alpha = self._alpha(factor)
        # bfloat16 would move ln(theta) by up to 0.4% of what is learned
        with torch.autocast(alpha.device.type, enabled=False):
            return (self._log_start(alpha) + self._residual(alpha.sqrt()[:, None])).exp()

    def start(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        return self._log_start(self._alpha(factor)).exp()

    def _alpha(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        return 1 + self.alpha_slope * (factor.to(self.up.weight.device, torch.float32) - 1)

    def _log_start(self, alpha: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        """Return ln(theta) of the drift alone."""
        return self.spec.inv_freq().to(alpha.device).log() + self._log_slowdown(alpha.log()[:, None])

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

    def _residual(self, end: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows pairs"]:
        """Return y of each row at w = `end`: of dy / dw = down(act(up(y + known(w)))) * 2 w / alpha_slope.

        known is a straight line in ln(w). The time integrated over is 0 at w = 1 and 1 at each row's end.
        """
        way = (end - 1).clamp(min=1e-6)  # integrate at factor 1 too, so that every pass has a gradient
        at_one, by_log = self._known()
        speed = way * (2 / self.alpha_slope)

        def velocity(time: Float[Tensor, ""], y: Float[Tensor, "rows pairs"]) -> Float[Tensor, "rows pairs"]:
            w = 1 + way * time
            seen = y + torch.addcmul(at_one, w.log(), by_log)
            return self.down(self.activation(self.up(seen))) * (w * speed)

        start, times = end.new_zeros(len(end), len(at_one)), torch.linspace(0, 1, self.steps + 1, device=end.device)
        options = {"grid_constructor": lambda *_: times}
        y = odeint(velocity, start, times[[0, -1]], method=self.solver, options=options)
        assert isinstance(y, Tensor)
        return y[-1]

    def _known(self) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """Return what the MLP reads beside y, at t = 1, and what is added to it for each unit of ln(w)."""
        device = self.up.weight.device
        log_theta, slowdown = (
            self.spec.inv_freq().to(device).log(),
            self._log_slowdown(torch.full((1,), 2.0).to(device)),
        )
        if self.input_base is None:
            return log_theta, slowdown
        return log_theta - self._even(device) / self.spec.dim * math.log(self.input_base), 2 * slowdown

    def _log_slowdown(self, log_alpha: Float[Tensor, "*rows 1"]) -> Float[Tensor, "*rows pairs"]:
        """Return -i / (d - 2) * ln(alpha)."""
        return -self.spec.ntk_exponent(log_alpha.device) * log_alpha

    def _even(self, device: torch.device) -> Float[Tensor, " pairs"]:
        return torch.arange(0, self.spec.dim, 2, device=device, dtype=torch.float32)
