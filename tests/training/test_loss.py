"""The loss in chunks: equal to the plain one of all logits, gradients too, in every dtype and for every family."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, linear

from lcx_lightning.evaluation.perplexity.nll import token_nll
from lcx_lightning.models import lm_head
from lcx_lightning.models.attach import attach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.training.loss import chunked_sum, next_token_loss


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(lm_head, "LOGITS", 7 * 64)


def tokens_of(model, rows=2, tokens=20):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, model.config.vocab_size, (rows, tokens), generator=generator)


# The sum in chunks


def given_tensors(tokens, features, vocabulary, dtype=torch.float32):
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(tokens, features), (vocabulary, features), (vocabulary,)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]
    return tensors, torch.randint(0, vocabulary, (tokens,), generator=generator)


def chunked(hidden, weight, bias, targets, chunk=7):
    def total(hidden, targets):
        return cross_entropy(linear(hidden, weight, bias).float(), targets, reduction="sum")

    return chunked_sum(total, hidden, targets, [weight, bias], chunk) / len(targets)


def plain(hidden, weight, bias, targets):
    """Return the loss of all logits at once, in float64."""
    return cross_entropy(hidden.double() @ weight.double().T + bias.double(), targets)


def with_gradients(loss, tensors, targets, times=1.0):
    value = loss(*tensors, targets)
    return value.detach(), torch.autograd.grad(value * times, tensors)


@given(tokens=st.integers(1, 40), features=st.integers(1, 9), vocabulary=st.integers(2, 600), times=st.floats(-3, 3))
def test_loss_and_gradients_are_those_of_all_logits_at_once(tokens, features, vocabulary, times):
    tensors, targets = given_tensors(tokens, features, vocabulary)
    ours, exact = (with_gradients(loss, tensors, targets, times) for loss in (chunked, plain))
    assert ours[0].dtype == torch.float32
    assert float(ours[0]) == pytest.approx(float(exact[0]), rel=1e-5, abs=1e-6)
    for gradient, expected in zip(ours[1], exact[1], strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_in_bfloat16_the_loss_is_right_to_its_accuracy_and_does_not_drift_with_the_chunks():
    tensors, targets = given_tensors(300, 32, 200, torch.bfloat16)
    ours, exact = (with_gradients(loss, tensors, targets) for loss in (partial(chunked, chunk=1), plain))
    assert float(ours[0]) == pytest.approx(float(exact[0]), rel=3e-3)  # torch's own is 4e-2 off here
    for tensor, gradient, expected in zip(tensors, ours[1], exact[1], strict=True):
        assert gradient.dtype == tensor.dtype
        assert (gradient.double() - expected).norm() < 0.01 * expected.norm()


def test_under_autocast_the_loss_is_that_of_plain_logits_and_its_gradients_have_the_dtypes_of_the_weights():
    tensors, targets = given_tensors(300, 32, 200)
    exact = with_gradients(plain, tensors, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = with_gradients(chunked, tensors, targets)
        logits = linear(*tensors).detach()
    assert logits.dtype == torch.bfloat16
    assert float(value) == pytest.approx(float(cross_entropy(logits.float(), targets)), rel=1e-6)
    for gradient, true in zip(gradients, exact[1], strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - true).norm() < 0.01 * true.norm()


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(frozen):
    tensors, targets = given_tensors(30, 8, 100)
    everything = with_gradients(chunked, tensors, targets)[1]
    tensors[frozen].requires_grad_(False)
    chunked(*tensors, targets).backward()
    for i, tensor in enumerate(tensors):
        if i == frozen:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, everything[i])


def test_a_second_gradient_of_one_loss_is_refused_and_not_wrong():
    tensors, targets = given_tensors(30, 8, 100)
    loss = chunked(*tensors, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be taken once"):
        loss.backward()


class Widest(torch.utils._python_dispatch.TorchDispatchMode):
    """Note the most elements that any tensor has."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.most = max(self.most, tensor.numel())
        return made


def test_no_tensor_is_larger_than_a_chunk_of_logits_or_what_is_given():
    tensors, targets = given_tensors(640, 6, 60)  # 38 400 logits, 420 of them at once
    with Widest() as widest:
        chunked(*tensors, targets).backward()
    assert widest.most == 640 * 6
    with Widest() as widest, torch.no_grad():
        chunked(*tensors, targets)
    assert widest.most == 7 * 60


# Models


def stock_loss(model, ids, **given):
    """Return the loss of the stock model's own logits."""
    logits = model(input_ids=ids, use_cache=False, **given).logits
    return cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model, loss, expected_loss):
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-5)
    ours, expected = gradients(model, loss), gradients(model, expected_loss)
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=2e-6, msg=name)


def test_logits_that_fit_give_the_plain_loss_and_gradients_to_the_last_bit(tiny, monkeypatch):
    model = attach(tiny(), "clex", factor=4).train()
    ids = tokens_of(model)
    for logits, equal in ((2 * 20 * 64, True), (2 * 20 * 64 - 1, False)):
        monkeypatch.setattr(lm_head, "LOGITS", logits)
        loss, expected_loss = next_token_loss(model, ids, placement_seed=1), stock_loss(model, ids, placement_seed=1)
        ours, expected = gradients(model, loss), gradients(model, expected_loss)
        assert all(torch.equal(ours[name], expected[name]) for name in expected) == equal
        assert torch.equal(loss, expected_loss) or not equal


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("small_chunks")
def test_the_loss_of_every_family_is_that_of_its_own_logits_tied_weights_too(tiny, family, tied):
    own = {"logit_scale": 0.25} if family == "cohere" else {}
    model = tiny(family, tie_word_embeddings=tied, **own)
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        nn.init.normal_(bias)
    ids = tokens_of(model)
    assert_same(model, next_token_loss(model, ids), stock_loss(model, ids))


@pytest.mark.parametrize(
    ("family", "own"),
    [
        ("gemma2", {"final_logit_softcapping": 0.5, "head_dim": 16, "sliding_window": 64}),
        ("granite", {"logits_scaling": 4.0}),
    ],
)
@pytest.mark.usefixtures("small_chunks")
def test_soft_caps_and_scales_of_families_without_methods_are_theirs_too(tiny, family, own):
    model = tiny(family, **own)
    ids = tokens_of(model)
    hidden = model.base_model(input_ids=ids).last_hidden_state
    assert not torch.allclose(lm_head.logits_of(model, hidden), model.lm_head(hidden), rtol=0.1)
    assert_same(model, next_token_loss(model, ids), stock_loss(model, ids))
    assert float(token_nll(model, ids).mean()) == pytest.approx(stock_loss(model, ids).item(), abs=1e-5)


@pytest.mark.usefixtures("small_chunks")
def test_the_loss_is_that_of_the_method_and_of_its_draw(tiny):
    model = attach(tiny(), "clex", factor=4).train()
    ids = tokens_of(model)
    one, two = (next_token_loss(model, ids, placement_seed=placement_seed) for placement_seed in (1, 2))
    assert one != two
    assert_same(model, next_token_loss(model, ids, placement_seed=1), stock_loss(model, ids, placement_seed=1))


class Adapted(nn.Module):
    """A head with an adapter beside it."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.low, self.high = inner.requires_grad_(False), nn.Linear(64, 3), nn.Linear(3, 64)

    def forward(self, x):
        return self.inner(x) + self.high(self.low(x))


@pytest.mark.usefixtures("small_chunks")
def test_a_head_with_an_adapter_learns_as_without_chunks(tiny):
    model = tiny()
    model.set_output_embeddings(Adapted(model.lm_head))
    ids = tokens_of(model)
    assert_same(model, next_token_loss(model, ids), stock_loss(model, ids))
    assert "lm_head.low.weight" in gradients(model, next_token_loss(model, ids))
