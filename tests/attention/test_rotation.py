"""The gradient of a rotation whose tables learn, against complex numbers and finite differences."""

import pytest
import torch

from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.rope import Tables

PAIRS, REST = 3, 2
CASES = pytest.mark.parametrize(("rows", "rest"), [(1, 0), (1, REST), (2, 0), (2, REST)])


def drawn(rows, rest, dtype=torch.float64):
    """Return features of 2 rows, 4 heads and 5 tokens, and angles and a feature scale of `rows` rows."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 4, 5, 2 * PAIRS + rest), (rows, 5, PAIRS), (rows, 1, 1)]
    x, angle, scale = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x.to(dtype).requires_grad_(), angle.requires_grad_(), (scale.abs() + 0.5).requires_grad_()


def by_rotate(x, angle, scale):
    tables = Tables(angle.cos() * scale, angle.sin() * scale)
    wide = torch.promote_types(x.dtype, torch.float32)
    return rotate(x, Tables(*(table.to(wide) for table in tables)))


def by_complex_numbers(x, angle, scale):
    """Return x with pair i, features i and i + PAIRS, times scale e^(i angle)."""
    pairs = torch.complex(x[..., :PAIRS].double(), x[..., PAIRS : 2 * PAIRS].double())
    turned = pairs * torch.polar(scale.expand_as(angle), angle)[:, None]
    return torch.cat([turned.real, turned.imag, x[..., 2 * PAIRS :].double()], dim=-1)


@CASES
def test_the_gradients_are_what_finite_differences_say(rows, rest):
    given = drawn(rows, rest)
    assert torch.autograd.gradcheck(by_rotate, given)
    x, angle, scale = given
    tables = [(table * scale).detach().requires_grad_() for table in (angle.cos(), angle.sin())]
    assert torch.autograd.gradcheck(lambda *given: rotate(given[0], Tables(*given[1:])), (x, *tables))
    assert torch.autograd.gradcheck(lambda cos: rotate(x.detach(), Tables(cos, tables[1].detach())), tables[:1])


@CASES
@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
@pytest.mark.parametrize("side_by_side", [False, True])
def test_features_and_gradients_are_those_of_complex_numbers(rows, rest, dtype, accuracy, side_by_side):
    x, angle, scale = drawn(rows, rest, dtype)
    if side_by_side:  # the heads of a token, as a projection leaves them
        x = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {}
    for function in (by_rotate, by_complex_numbers):
        y = function(x, angle, scale)
        found[function] = y, *torch.autograd.grad(y, (x, angle, scale), grad.to(y.dtype))
    assert found[by_rotate][0].dtype == found[by_rotate][1].dtype == dtype
    for ours, exact in zip(*found.values(), strict=True):
        assert (ours.double() - exact.double()).norm() < accuracy * exact.double().norm()


def test_tables_that_learn_rotate_as_those_that_do_not_to_the_last_bit():
    x, angle, scale = drawn(1, REST, torch.float32)
    with torch.no_grad():
        expected = by_rotate(x, angle, scale)
    assert torch.equal(by_rotate(x, angle, scale), expected)
    assert torch.equal(by_rotate(x, angle.detach(), scale.detach()), expected)


def test_what_is_kept_for_the_gradient_is_what_attention_keeps_and_the_tables():
    x, angle, scale = drawn(2, 0, torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        tables = Tables(*((table * scale).float().detach().requires_grad_() for table in (angle.cos(), angle.sin())))
        y = rotate(x * 1, tables)
    large = [tensor for tensor in kept if tensor.numel() >= x.numel()]
    assert [tensor.data_ptr() for tensor in large] == [y.data_ptr()]
