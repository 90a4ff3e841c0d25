"""A compiled model, with activation checkpointing too, has the loss and the gradients of one that is not."""

import jaxtyping
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # by the compiler, of what it looks into
IDS = torch.randint(1, 64, (4, 2, 60), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def no_shape_checks(monkeypatch):
    """The tests' checks of shapes at run time look into tensors, which a compiler cannot follow."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch._dynamo.reset()


def checkpoint_activations(model):
    """Recompute activations in the backward pass, by the name that this version of transformers has for it."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)({"use_reentrant": False})


def step(model, call, number, mask=None):
    """Return the loss of a training step and the gradients of all weights; ids and draw change with its number."""
    model.zero_grad(set_to_none=True)
    loss = call(IDS[number], attention_mask=mask, labels=IDS[number], use_cache=False, placement_seed=number).loss
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def padded(number):
    """Return a mask whose padding differs from step to step, on the left of the second row."""
    return (torch.arange(60) >= torch.tensor([[0], [3 * number + 1]])).long()


def assert_close(actual, wanted):
    for a, b in zip(actual, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["yarn", "lm_infinite", "clex"])
def test_a_compiled_model_trains_as_one_that_is_not(extended, name, checkpointing):
    plain, model = extended(name).train(), extended(name).train()
    if checkpointing:
        checkpoint_activations(model)
    compiled = torch.compile(model, backend="aot_eager")
    for number in range(2):
        assert_close(step(model, compiled, number), step(plain, plain, number))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clex", "lm_infinite"])
def test_factors_and_padding_that_change_every_step_reach_compiled_code_as_tensors(extended, name):
    """After two steps nothing is compiled again for them."""
    model, graphs = extended(name).train(), []

    def counted(graph, _):
        graphs.append(graph)
        return graph

    plain, compiled = extended(name).train(), torch.compile(model, backend=counted)
    made = []
    for number in range(4):
        assert_close(step(model, compiled, number, padded(number)), step(plain, plain, number, padded(number)))
        made.append(len(graphs))
    assert made[1] == made[2] == made[3]
