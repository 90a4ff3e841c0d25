"""The optimizer, which parameter learns at which rate, and the schedule of the rates."""

import math

import pytest
import torch
from support.lab import composed
from support.made import made
from support.refusals import COUNT, refusal
from support.trainable_model import FROM_BYTES, RATES, SOURCE, load, same
from torch.optim import SGD, AdamW, Muon
from torch.optim.lr_scheduler import LinearLR
from transformers import get_cosine_schedule_with_warmup

from lcx_lightning.models.sources import EmbeddedModel
from lcx_lightning.runner.recipe import schedule_of
from lcx_lightning.training.lr_schedules import warmup_stable_decay
from lcx_lightning.training.optimizers import MuonAdamW, adamw, parameter_groups

SHARE = "a number of at least 0 and up to 1"
MOMENTA = "a list of 2 numbers of at least 0 and below 1"
COSINE = "lcx_lightning.training.warmup_cosine"


def grads(model, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) if parameter.requires_grad else None


@pytest.mark.parametrize("name", ["pretrained", "clex", "clex_frozen"])
def test_parameter_groups_are_disjoint_and_hold_all_that_learns(name):
    model = load(name)
    groups = parameter_groups(model)
    held = [id(p) for group in groups.values() for p in group]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters() if p.requires_grad}
    assert all(p.ndim == 2 for p in groups["matrices"])
    assert {id(model.get_input_embeddings().weight), id(model.lm_head.weight)} <= {id(p) for p in groups["rest"]}
    assert bool(groups["method"]) == (name == "clex")


def test_tied_embeddings_are_trained_once():
    source = EmbeddedModel(architecture=SOURCE.architecture | {"tie_word_embeddings": True}, **FROM_BYTES)
    groups = parameter_groups(source.load(None))
    held = [id(p) for group in groups.values() for p in group]
    assert len(held) == len(set(held))


def test_muon_adamw_is_muon_and_adamw_side_by_side():
    ours, plain = load("clex"), load("clex")
    optimizer = MuonAdamW(ours, **RATES)
    groups = parameter_groups(plain)
    adam = [{"params": groups["rest"], "lr": RATES["lr"]}, {"params": groups["method"], "lr": RATES["method_lr"]}]
    parts = [Muon(groups["matrices"], lr=RATES["matrix_lr"], weight_decay=0.0)]
    parts += [AdamW(adam, betas=RATES["betas"], weight_decay=0.0)]
    for step in range(3):
        grads(ours, step)
        grads(plain, step)
        for part in (optimizer, *parts):
            part.step()
    assert same(ours.state_dict(), plain.state_dict())
    assert not same(ours.state_dict(), load("clex").state_dict())


def test_muon_adamw_goes_on_from_its_saved_state_to_the_last_bit(tmp_path):
    model, other = load("clex"), load("clex")
    first = MuonAdamW(model, **RATES)
    for step in range(3):
        grads(model, step)
        first.step()
    torch.save((model.state_dict(), first.state_dict()), tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(weights)
    second = MuonAdamW(other, **RATES)
    second.load_state_dict(state)
    for step in range(3, 5):
        for one, optimizer in ((model, first), (other, second)):
            grads(one, step)
            for group in optimizer.param_groups:
                group["lr"] *= 0.5  # a schedule reaches both parts, also after loading
            optimizer.step()
    assert same(model.state_dict(), other.state_dict())


def test_a_schedule_changes_the_rate_of_every_group():
    model = load("clex")
    optimizer, before = MuonAdamW(model, **RATES), model.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    grads(model, 0)
    optimizer.step()
    assert same(model.state_dict(), before)


def test_zero_grad_reaches_every_parameter():
    model = load("clex")
    optimizer = MuonAdamW(model, **RATES)
    grads(model, 0)
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_adamw_decays_the_model_and_not_the_method():
    model = load("clex")
    optimizer = adamw(model, lr=0.1, method_lr=0.2, betas=(0.9, 0.95), weight_decay=0.5)
    method = {id(p) for p in parameter_groups(model)["method"]}
    for group in optimizer.param_groups:
        own = {id(p) for p in group["params"]} & method
        assert (group["lr"], group["weight_decay"]) == ((0.2, 0.0) if own else (0.1, 0.5))


# The schedule


def test_the_schedule_rises_stays_and_falls_as_by_hand():
    factor = warmup_stable_decay(steps=10, warmup=3, decay=0.4)
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5, 0]
    assert [factor(step) for step in range(11)] == pytest.approx(expected)


def test_a_schedule_without_decay_stays():
    factor = warmup_stable_decay(steps=10, warmup=0, decay=0.0)
    assert [factor(step) for step in range(10)] == [1] * 10


@pytest.mark.parametrize(("warmup", "decay"), [(11, 0.0), (6, 0.5), (1, 1.0)])
def test_a_schedule_that_does_not_fit_is_refused(warmup, decay):
    with pytest.raises(ValueError, match="A schedule of 10 steps needs room for warmup="):
        warmup_stable_decay(steps=10, warmup=warmup, decay=decay)


def test_position_interpolation_warms_up_from_a_tenth_of_its_rate():
    """As torch's own linear schedule, from 0.1 over 20 steps (arXiv:2306.15595, section 3.1)."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    expected, factor = LinearLR(optimizer, 0.1, total_iters=20), schedule_of(composed("training=papers").training)
    for step in range(1000):
        assert factor(step) == pytest.approx(expected.get_last_lr()[0])
        optimizer.step()
        expected.step()


def test_the_cosine_of_clex_is_that_of_transformers():
    recipe = composed("training=papers_clex").training
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    expected = get_cosine_schedule_with_warmup(optimizer, math.ceil(0.03 * recipe.steps), recipe.steps)
    factor = schedule_of(recipe)
    for step in range(recipe.steps):
        assert factor(step) == pytest.approx(expected.get_last_lr()[0])
        optimizer.step()
        expected.step()


def test_yarn_trains_as_position_interpolation_but_for_steps_and_the_start():
    ours, pi = (composed(f"training={name}").training for name in ("papers_yarn", "papers"))
    assert {key for key in ours if ours[key] != pi[key]} == {"steps", "schedule"}
    factor = schedule_of(ours)
    assert [factor(step) for step in (0, 9, 20, 399)] == pytest.approx([1 / 21, 10 / 21, 1, 1])


@pytest.mark.parametrize(
    ("schedule", "name", "allowed"),
    [
        ({"warmup": 1, "decay": 0.0}, "start", f"{SHARE} or null"),
        ({"warmup": 1}, "decay", SHARE),
        ({"_target_": COSINE}, "warmup_share", SHARE),
    ],
)
@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_shares_beyond_0_and_1_are_refused(schedule, name, allowed, wrong):
    with pytest.raises(ValueError, match=refusal({f"training.schedule.{name}": wrong}, allowed)):
        schedule_of({"steps": 10, "schedule": schedule | {name: wrong}})


@pytest.mark.parametrize(("name", "allowed"), [("steps", COUNT), ("warmup", "a whole number of at least 0")])
def test_a_schedule_has_whole_steps(name, allowed):
    for wrong in (-1, 1.5, "1"):
        with pytest.raises(ValueError, match=refusal({name: wrong}, allowed)):
            warmup_stable_decay(**{"steps": 10, "warmup": 1, "decay": 0.0} | {name: wrong})


@pytest.mark.parametrize("kind", [adamw, MuonAdamW])
def test_rates_and_momenta_out_of_range_are_refused(kind):
    model = load("clex")
    rates = RATES | ({"matrix_lr": 0.01} if kind is MuonAdamW else {"weight_decay": 0.1})
    rates = {name: rate for name, rate in rates.items() if kind is MuonAdamW or name != "matrix_lr"}
    for name in rates.keys() - {"betas"}:
        with pytest.raises(ValueError, match=refusal({name: -1e-3}, "a number of at least 0")):
            kind(model, **rates | {name: -1e-3})
    for wrong in ([0.9, 1], [-0.1, 0.9], [0.9], [0.9, 0.95, 0.99], 0.9):
        with pytest.raises(ValueError, match=refusal({"betas": wrong}, MOMENTA)):
            kind(model, **rates | {"betas": wrong})
    assert kind(model, **rates | {"betas": [0, 0.95]})


@pytest.mark.parametrize("name", ["finetune", "papers", "papers_yarn"])
def test_the_schedules_of_the_config_files_fit_their_steps(name):
    recipe = composed(f"training={name}").training
    factor = schedule_of(recipe)
    assert max(map(factor, range(recipe.steps))) == 1
    assert all(factor(step) > 0 for step in range(recipe.steps))
    assert made(recipe.optimizer)
