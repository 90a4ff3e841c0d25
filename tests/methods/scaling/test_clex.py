"""CLEX: the equation of the released code, its solvers, gradients and weights."""

import itertools
import math

import numpy as np
import pytest
import torch
from support.rope_specs import LLAMA2, SMALL, at
from torch import nn

from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.methods.scaling.clex import CLEX

FACTORS = torch.tensor([1.0, 2.0, 7.5, 32.0])
RELEASED = {"width": 1, "alpha_slope": 2, "input_base": 10_000, "solver": "rk4", "steps": 6, "trainable": True}


def clex(spec=SMALL, field=0.0, activation="tanh", **options):
    torch.manual_seed(0)
    scaling = CLEX(spec, activation=activation, **RELEASED | options)
    if field:
        nn.init.normal_(scaling.down.weight, std=field)
    return scaling


@pytest.mark.parametrize("t", [1, 1.5, 2, 7.5, 64])
@pytest.mark.parametrize(("alpha_slope", "alpha"), [(2, lambda t: 2 * t - 1), (1, lambda t: t)])
def test_clex_starts_as_ntk_at_twice_the_factor_minus_one_or_at_the_papers_factor(t, alpha_slope, alpha):
    i = torch.arange(0, 64, 2)
    expected = SMALL.inv_freq() * alpha(t) ** (-i / 62)
    torch.testing.assert_close(at(clex(alpha_slope=alpha_slope), t), expected, atol=0, rtol=2e-6)


def equation(scaling, activation, t_end, alpha_slope=2, input_base=10_000):
    """Return the frequencies that the equation of the released code has at t_end, by its own small steps in t, float64.

    d z / dt = act((z + log(ntk)) @ up) @ down + d ntk / dt / ntk, z(1) = log(theta); ntk is of base `input_base`.
    """
    up, down = (layer.weight.detach().double().numpy().T for layer in (scaling.up, scaling.down))
    d = scaling.spec.dim
    i = np.arange(0, d, 2)

    def slope(t, z):
        alpha = 1 + alpha_slope * (t - 1)
        base = (input_base or 10_000) * alpha ** (d / (d - 2))
        ntk = 1 / base ** (i / d)
        ntk_slope = -i / (d - 2) * alpha_slope / alpha * ntk
        seen = z if input_base is None else z + np.log(ntk)
        return activation(seen @ up) @ down + ntk_slope / ntk

    z, steps = np.log(scaling.spec.base ** (-i / d)), round((t_end - 1) / 0.01)  # the code's time_dt
    h = (t_end - 1) / max(steps, 1)
    for step in range(steps):
        t = 1 + h * step
        k1 = slope(t, z)
        k2 = slope(t + h / 2, z + h / 2 * k1)
        k3 = slope(t + h / 2, z + h / 2 * k2)
        k4 = slope(t + h, z + h * k3)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return torch.tensor(np.exp(z)).float()


def silu(x):
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("name", "activation", "field"),
    [("tanh", np.tanh, 0.01), ("tanh", np.tanh, 0.002), ("silu", silu, 0.001)],
)
@pytest.mark.parametrize(
    "options", [{}, {"alpha_slope": 1}, {"input_base": None}, {"alpha_slope": 1, "input_base": None}], ids=str
)
def test_a_trained_clex_solves_the_equation_of_the_released_code_and_of_each_option(name, activation, field, options):
    scaling = clex(field=field, activation=name, **options)
    expected = torch.stack([equation(scaling, activation, t, **options) for t in FACTORS.tolist()])
    drift = clex(**options)(FACTORS)
    assert ((expected - drift).abs() / drift)[1:].max() > 0.03, "the field must matter, or this tests nothing"
    torch.testing.assert_close(torch.cat([scaling(t[None]) for t in FACTORS]), expected, atol=0, rtol=1e-4)
    order = torch.tensor([3, 0, 2, 1, 2])
    torch.testing.assert_close(scaling(FACTORS[order]), expected[order], atol=0, rtol=1e-4)


def test_the_released_network_reads_frequencies_of_base_ten_thousand_also_in_a_model_of_another_base():
    spec = RopeSpec(dim=64, base=1_000_000.0, pretrain_length=4096)
    by_base = {}
    for base in (10_000, 1_000_000, None):
        scaling = clex(spec, field=0.01, input_base=base)
        by_base[base] = at(scaling, 8)
        expected = equation(scaling, np.tanh, 8, input_base=base)
        torch.testing.assert_close(by_base[base], expected, atol=0, rtol=1e-4)
    for a, b in ((10_000, 1_000_000), (10_000, None), (1_000_000, None)):
        assert ((by_base[a] / by_base[b]).log().abs() > 0.01).any()


@pytest.mark.parametrize(("solver", "steps"), [("rk4", 6), ("heun3", 20), ("midpoint", 60), ("euler", 3000)])
def test_every_solver_of_clex_comes_to_the_same_frequencies(solver, steps):
    scaling = clex(field=0.01, solver=solver, steps=steps)
    torch.testing.assert_close(at(scaling, 8), equation(scaling, np.tanh, 8), atol=0, rtol=1e-3)


def test_the_solver_of_clex_is_the_one_that_is_asked_for():
    coarse = [at(clex(field=0.02, solver=solver, steps=1), 8) for solver in ("euler", "midpoint", "heun3", "rk4")]
    assert all(not torch.allclose(a, b, atol=0, rtol=1e-3) for a, b in itertools.combinations(coarse, 2))


def test_the_frequencies_of_clex_are_those_of_the_weights_it_has_now():
    scaling = clex(field=0.01).eval()
    before = at(scaling, 8)
    optimizer = torch.optim.SGD(scaling.parameters(), lr=1e-4)
    scaling.train()(FACTORS).log().sum().backward()
    optimizer.step()
    fresh = clex(field=0.5)
    fresh.load_state_dict(scaling.state_dict())
    after = at(scaling.eval(), 8)
    assert torch.equal(after, at(fresh, 8))
    assert not torch.allclose(after, before, atol=0, rtol=1e-4)


@pytest.mark.parametrize("layer", ["up", "down"])
def test_the_gradient_of_clex_is_the_slope_of_the_equation_in_its_weights(layer):
    scaling, weighting = clex(field=0.01), torch.linspace(-1, 1, 32)
    weight = getattr(scaling, layer).weight
    (scaling(torch.tensor([8.0]))[0].log() * weighting).sum().backward()
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))

    def moved(by):
        with torch.no_grad():
            weight.add_(by * direction)
        value = (equation(scaling, np.tanh, 8).double().log() * weighting).sum().item()
        with torch.no_grad():
            weight.sub_(by * direction)
        return value

    slope = (moved(1e-3) - moved(-1e-3)) / 2e-3
    assert (weight.grad * direction).sum().item() == pytest.approx(slope, rel=0.01)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun3", 3), ("rk4", 4)])
def test_the_error_of_a_solver_falls_as_its_order_says(solver, order):
    exact = equation(clex(field=0.3), np.tanh, 8).log()  # a wild field: errors above float32
    errors = [(at(clex(field=0.3, solver=solver, steps=n), 8).log() - exact).abs().max() for n in (8, 16)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_clex_as_its_file_says_is_within_a_hundred_thousandth_of_fine_steps_up_to_16_gradients_too(build):
    asked = build("clex", LLAMA2).scaling
    nn.init.normal_(asked.down.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    fine = clex(LLAMA2, steps=200)
    fine.load_state_dict(asked.state_dict())
    ours, theirs = (scaling(torch.arange(1.0, 17)) for scaling in (asked, fine))
    moved = (at(asked, 16) / at(clex(LLAMA2), 16)).log().abs().max()
    assert moved > 1, "the field must matter, or this tests nothing"
    torch.testing.assert_close(ours, theirs, atol=0, rtol=1e-5)
    ours.log().sum().backward()
    theirs.log().sum().backward()
    for weight, exact in zip(asked.parameters(), fine.parameters(), strict=True):
        assert (weight.grad - exact.grad).norm() < 1e-5 * exact.grad.norm()


@pytest.mark.parametrize("factors", [[4.0, 16.0], [16.0, 1.0, 4.0], [4.0, 2.5, 100.0]])
def test_a_row_of_clex_is_the_same_whatever_stands_beside_it(factors):
    scaling = clex(field=0.02, steps=2)  # coarse: steps of another size would show
    row = scaling(torch.tensor(factors))[factors.index(4.0)]
    torch.testing.assert_close(row, at(scaling, 4), atol=0, rtol=1e-5)


def test_clex_is_solved_in_float32_also_under_autocast():
    scaling, factor = clex(field=0.01), torch.tensor([8.0])
    expected = scaling(factor)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scaling(factor), expected)


@pytest.mark.parametrize("factor", [1.0, 1.5, 8.0])
def test_every_weight_of_a_trained_clex_has_a_gradient_also_at_factor_one(factor):
    scaling = clex(field=0.01)
    scaling(torch.tensor([factor])).log().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in scaling.parameters())


def test_a_frozen_clex_asks_for_no_gradient(build, spec):
    frozen, trained = (build(name, spec).scaling for name in ("clex_frozen", "clex_blocks"))
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert all(weight.requires_grad for weight in trained.parameters())


# What is refused


@pytest.mark.parametrize("solver", ["rk5", "dopri5"])
def test_clex_lists_the_solvers_that_it_has(solver):
    with pytest.raises(ValueError, match=f"solver must be euler, midpoint, heun3 or rk4, got '{solver}'"):
        clex(solver=solver)


def test_weights_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"needs ode_up_proj \[32, 64\].*got \[32, 128\] and \[128, 32\]: set width"):
        clex().load_released(torch.zeros(32, 128), torch.zeros(128, 32))
