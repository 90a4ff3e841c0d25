"""CLEX: frequencies as the solution of a neural ODE in the scale factor (Chen et al. 2023, arXiv:2310.16450)."""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor, nn
from torchdiffeq import odeint

from lcx_lightning.methods.scaling.base import FrequencyScaling, RopeSpec
from lcx_lightning.schema.checked import checked

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "silu": nn.SiLU}
TOLERANCE = (
    3e-5  # largest relative change of a frequency at twice the steps; that of the released code on strong fields
)
MOST_STEPS = 768
MOST_WIDTH = 1024  # 64 MB of weights at 128 rotated features


class CLEX(FrequencyScaling):
    """Integrate d ln(theta) / dt from t = 1 to the scale factor: the drift of NTK-aware scaling plus an MLP.

    The drift has a closed form, ln(theta_i(t)) = ln(theta_i(1)) - i / (d - 2) * ln(alpha), i = 0, 2, 4 ... Only the
    residual y = ln(theta) - ln(theta_drift) is integrated, over w = sqrt(alpha) in place of t, dt = 2 w / alpha_slope
    dw: the input of the MLP changes with ln(alpha), fastest at t = 1, while dy / dt is of about the same size
    throughout, and equal steps in w suit both. The solution is the same, and takes far fewer steps. Every row takes the
    same number of steps up to its own factor, so that no row affects another.

    `activation`, `alpha_slope` and `input_base` say where the released code departs from the paper. How t and the
    positions are sampled is in `lcx_lightning.positions.SampledPositions`; the option `log_scale` of the released code
    is a temperature, `lcx_lightning.temperature.LogN`.

    Args:
        spec: Rotary embedding of the checkpoint.
        width: Hidden features of the MLP per rotated feature; lambda in the paper, param_factor in the released code.
        activation: Activation of the MLP: tanh in the released code, silu in the paper and in CLEX-7B-16K.
        alpha_slope: Slope of alpha = 1 + alpha_slope * (t - 1): 2 in the released code, where alpha = 2t - 1; 1 gives
            the paper's alpha = t.
        input_base: Base of the logarithms that the released code adds to the state ln(theta) before its MLP reads it:
            those of the NTK-aware frequencies at alpha, always for base 10 000, whatever the base of the model. None
            lets the MLP read ln(theta) alone, as in the paper.
        solver: Fixed-step solver of torchdiffeq: euler, midpoint, heun3 or rk4.
        steps: Solver steps from t = 1 to the factor of a row. With rk4, 6 steps are accurate to 1e-5, gradients
            included, for a field that changes ln(theta) by 4 up to t = 16; steps in ln(alpha) would take 10, steps in t
            14. Larger factors and stronger fields need more: 6 steps are accurate to 1e-3 up to t = 64 for a field
            that changes ln(theta) by 18. For the weights of a released checkpoint they are doubled where needed, see
            `choose_steps`.
        trainable: Whether the MLP is trained. False freezes it at its initial value, where only the drift remains.

    Raises:
        ValueError: If a number is out of range, the solver is unknown, or the model rotates only one pair.
    """

    @checked
    def __init__(
        self,
        spec: RopeSpec,
        *,
        width: Annotated[float, Gt(0), Le(MOST_WIDTH)],
        activation: Literal["tanh", "silu"],
        alpha_slope: Annotated[float, Ge(1e-3), Le(1e3)],
        input_base: PositiveFloat | None,
        solver: Literal["euler", "midpoint", "heun3", "rk4"],  # of fixed steps: their cost does not change
        steps: Annotated[int, Ge(1), Le(10_000)],
        trainable: bool,
    ) -> None:
        super().__init__(spec)
        spec.ntk_exponent()  # raises for a single pair
        pairs, hidden = spec.dim // 2, max(round(width * spec.dim), 1)
        self.alpha_slope, self.input_base = alpha_slope, input_base
        self.activation, self.solver, self.steps = ACTIVATIONS[activation](), solver, steps
        self.up = nn.Linear(pairs, hidden, bias=False, dtype=torch.float32)
        self.down = nn.Linear(hidden, pairs, bias=False, dtype=torch.float32)
        nn.init.uniform_(self.up.weight, -(hidden**-0.5), hidden**-0.5)  # as in the released code
        nn.init.zeros_(self.down.weight)  # only the drift before training
        self.requires_grad_(trainable)

    def inv_freq(self, factor: Float[Tensor, " rows"]) -> Float[Tensor, "rows pairs"]:
        alpha = self._alpha(factor)
        # bfloat16 would change the learned part of ln(theta) by up to 0.4%
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
        """Load the MLP weights of a released checkpoint; there they multiply from the right, so they are transposed.

        Args:
            up: Tensor `ode_up_proj` of the checkpoint.
            down: Tensor `ode_down_proj` of the checkpoint.

        Raises:
            ValueError: If their shapes do not fit this MLP, or they are not finite.
        """
        if up.T.shape != self.up.weight.shape or down.T.shape != self.down.weight.shape:
            pairs, hidden = self.up.weight.T.shape
            raise ValueError(
                f"A CLEX of {pairs} pairs and {hidden} hidden features needs ode_up_proj [{pairs}, {hidden}] and "
                f"ode_down_proj [{hidden}, {pairs}], got {list(up.shape)} and {list(down.shape)}: set width to theirs."
            )
        if not (up.isfinite().all() and down.isfinite().all()):
            raise ValueError("ode_up_proj or ode_down_proj of this CLEX is not finite: the checkpoint is damaged.")
        with torch.no_grad():
            self.up.weight.copy_(up.T)
            self.down.weight.copy_(down.T)

    @torch.no_grad()
    def choose_steps(self, max_factor: int) -> None:
        """Double the solver steps until twice as many change no frequency up to `max_factor` by 3e-5 of it.

        Raises:
            ValueError: If 768 steps are not enough.
        """
        factors = torch.arange(1, max_factor + 1, dtype=torch.float32)
        steps, found = self.steps, self.inv_freq(factors)
        while True:
            self.steps, coarse = 2 * steps, found
            found = self.inv_freq(factors)
            change = float((coarse / found - 1).abs().max())
            if change < TOLERANCE:
                self.steps = steps
                return
            if self.steps > MOST_STEPS:
                raise ValueError(
                    f"The learned field of this CLEX is too strong for the solver {self.solver}: from {steps} to "
                    f"{self.steps} steps its frequencies change by {change:.1g} of them, and {TOLERANCE:g} is allowed. "
                    "Take a smaller max_factor, or solver=rk4 if it is another."
                )
            steps = self.steps

    def _residual(self, end: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows pairs"]:
        """Return y of each row at w = `end`, the solution of dy / dw = down(act(up(y + x(w)))) * 2 w / alpha_slope.

        x(w) is linear in ln(w). The variable of integration runs from 0 at w = 1 to 1 at the end of each row.
        """
        width = (end - 1).clamp(min=1e-6)  # integrate at factor 1 too, so that every pass has a gradient
        at_one, by_log = self._mlp_input()
        speed = width * (2 / self.alpha_slope)

        def velocity(time: Float[Tensor, ""], y: Float[Tensor, "rows pairs"]) -> Float[Tensor, "rows pairs"]:
            w = 1 + width * time
            mlp_input = y + torch.addcmul(at_one, w.log(), by_log)
            return self.down(self.activation(self.up(mlp_input))) * (w * speed)

        start, times = (
            end.new_zeros(len(end), len(at_one)),
            torch.linspace(0, 1, self.steps + 1, dtype=end.dtype, device=end.device),
        )
        options = {"grid_constructor": lambda *_: times}
        y = odeint(velocity, start, times[[0, -1]], method=self.solver, options=options)
        assert isinstance(y, Tensor)
        return y[-1]

    def _mlp_input(self) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """Return the input of the MLP without y, a linear function of ln(w): its value at t = 1, and its slope."""
        device = self.up.weight.device
        log_theta, slowdown = (
            self.spec.inv_freq().to(device).log(),
            self._log_slowdown(torch.full((1,), 2.0, dtype=torch.float32).to(device)),
        )
        if self.input_base is None:
            return log_theta, slowdown
        return log_theta - self._even(device) / self.spec.dim * math.log(self.input_base), 2 * slowdown

    def _log_slowdown(self, log_alpha: Float[Tensor, "*rows 1"]) -> Float[Tensor, "*rows pairs"]:
        """Return -i / (d - 2) * ln(alpha)."""
        return -self.spec.ntk_exponent(log_alpha.device) * log_alpha

    def _even(self, device: torch.device) -> Float[Tensor, " pairs"]:
        return torch.arange(0, self.spec.dim, 2, device=device, dtype=torch.float32)
