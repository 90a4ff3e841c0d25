"""A method in training: a part of its model, with gradients, draws and checkpointed activations."""

import pytest
import torch
from support.cache_inputs import IDS, close

from lcx_lightning.models.attach import attach


def checkpoint_activations(model):
    """Recompute activations in the backward pass, by the name that this version of transformers has for it."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)({"use_reentrant": False})


SAMPLING = ["clex", "clex_blocks", ["clex", "lm_infinite"]]
PLACED_AT_RANDOM = [*SAMPLING, "pose", "random_positions"]


def moved(model):
    """Return the model, its learned scaling no longer at its start, where some gradients are zero."""
    torch.manual_seed(2)
    for weight in model.base_model.attached.method.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    return model


def test_the_gradient_reaches_every_learned_part_and_activation_checkpointing_changes_none(extended, any_method):
    gradients = []
    for checkpointing in (False, True):
        model = moved(extended(any_method)).train()
        if checkpointing:
            checkpoint_activations(model)
            assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        model(IDS, labels=IDS, use_cache=False, placement_seed=5).loss.backward()
        learned = [p for p in model.model.attached.method.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        close(recomputed, plain)


def test_every_trainable_weight_takes_part_in_every_pass(extended, any_method):
    model = extended(any_method).train()
    for placement_seed in range(4):
        model.zero_grad(set_to_none=True)
        model(IDS[:, :32], labels=IDS[:, :32], placement_seed=placement_seed).loss.backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", PLACED_AT_RANDOM)
def test_a_method_that_samples_is_refused_in_training_without_a_draw(extended, name):
    model = extended(name).train()
    with pytest.raises(ValueError, match="pass placement_seed="):
        model(IDS)
    model.eval()(IDS)


@torch.no_grad()
def test_equal_draws_give_equal_losses_and_only_methods_that_sample_care(extended, any_method):
    model = extended(any_method).train()
    losses = [model(IDS, labels=IDS, placement_seed=placement_seed).loss.item() for placement_seed in (3, 3, 4, 5, 6)]
    assert losses[0] == losses[1]
    assert (len(set(losses)) > 1) == model.model.attached.method.positions.samples


def test_a_method_is_a_part_of_the_model(extended, any_method):
    model = extended(any_method)
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for p in model.model.attached.method.parameters())
    model.train()
    assert model.model.attached.method.training


def test_a_model_takes_one_method(extended, build, spec):
    with pytest.raises(ValueError, match="has a method already"):
        attach(extended("pi"), build("lm_infinite", spec))
