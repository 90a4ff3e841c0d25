"""The solve of CLEX (arXiv:2310.16450) against Runge-Kutta in t, as the released code takes its steps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.benchmarks.measure import Comparison, Options, faster, interleaved
from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.methods.overrides import with_values
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.methods.scaling.clex import CLEX

SPEC = RopeSpec(dim=128, base=10_000.0, pretrain_length=4096)
END = 16.0  # t
FIELD = 0.01  # standard deviation of the weights that start at 0: ln(theta) moves by 3 up to t = 16
OURS = "CLEX, t = 1 .. 16, forward and backward"


def run(options: Options) -> list[Comparison]:
    """Compare times of one solve with its gradients, and errors of frequencies and gradients with 1e-4, float32."""
    step, fine = (0.1, 0.05) if options.quick else (0.01, 0.001)
    scaling = trained_clex().to(options.device)
    theirs = f"torchdiffeq rk4, step {step} in t"
    calls: dict[str, Callable[[], object]] = {OURS: lambda: ours(scaling), theirs: lambda: in_t(scaling, step)}
    seconds = interleaved(calls, options.repeats, options.device)
    exact = trained_clex().to(options.device).double()
    with torch.no_grad():
        frequencies = solved_in_t(exact, fine)
    error = float(((scaling(factor(scaling))[0].detach() - frequencies) / frequencies).abs().max())
    slopes = [(a - b).norm() / b.norm() for a, b in zip(ours(scaling), in_t(exact, step), strict=True)]
    return [
        faster(OURS, theirs, seconds, 50),
        _error("largest relative error of a frequency", f"rk4 at step {fine} in t, float64", error),
        _error("relative error of the gradients", f"rk4 at step {step} in t, float64", float(max(slopes))),
    ]


def trained_clex() -> CLEX:
    """Return CLEX as its method file says, with random weights that are not 0, as after training."""
    method = with_values(read_method("clex"), SPEC.pretrain_length, {"factor": END})
    scaling = build_method(method, SPEC).scaling
    assert isinstance(scaling, CLEX)
    generator = torch.Generator().manual_seed(0)
    nn.init.uniform_(scaling.up.weight, -(SPEC.dim**-0.5), SPEC.dim**-0.5, generator=generator)
    nn.init.normal_(scaling.down.weight, std=FIELD, generator=generator)
    return scaling


def factor(scaling: CLEX) -> Tensor:
    """Return t, of one row."""
    return torch.tensor([END], device=scaling.up.weight.device)


def ours(scaling: CLEX) -> tuple[Tensor, ...]:
    """Return the gradients of the sum of ln(theta) in both matrices."""
    return torch.autograd.grad(scaling(factor(scaling)).log().sum(), tuple(scaling.parameters()))


def in_t(scaling: CLEX, step: float) -> tuple[Tensor, ...]:
    """Return the same gradients, of a solve in t."""
    return torch.autograd.grad(solved_in_t(scaling, step).log().sum(), tuple(scaling.parameters()))


def solved_in_t(scaling: CLEX, step: float) -> Tensor:
    """Return the frequencies in radians per token, [pairs], of torchdiffeq's rk4 in t."""
    from torchdiffeq import odeint

    weight = scaling.up.weight
    start = SPEC.inv_freq().to(weight).log()
    times = torch.tensor([1.0, END], dtype=weight.dtype, device=weight.device)
    solved = odeint(velocity_in_t(scaling), start, times, method="rk4", options={"step_size": step})
    assert isinstance(solved, Tensor)
    return solved[-1].exp()


def velocity_in_t(scaling: CLEX) -> Callable[[Tensor, Tensor], Tensor]:
    """Return d ln(theta) / dt of the released code: the MLP, and the drift of NTK-aware scaling at alpha = 2t - 1."""
    up, down = scaling.up.weight, scaling.down.weight
    even = torch.arange(0, SPEC.dim, 2, dtype=up.dtype, device=up.device)
    start = SPEC.inv_freq().to(up).log()

    def velocity(t: Tensor, log_theta: Tensor) -> Tensor:
        alpha = 2 * t - 1
        log_ntk = start - even / (SPEC.dim - 2) * alpha.log()
        drift = -even / (SPEC.dim - 2) * 2 / alpha
        return down @ torch.tanh(up @ (log_theta + log_ntk)) + drift

    return velocity


def _error(what: str, against: str, error: float) -> Comparison:
    """Return an error as the share of 1e-4 that it is."""
    share = error / 1e-4
    return Comparison(what, against, "x 1e-4", share, 1.0, share, share, share, 1.0, at_least=False)
