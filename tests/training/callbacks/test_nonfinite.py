"""Losses and gradients that are not finite: the run stops and says on what, or the step is left out and counted."""

import pytest
import torch
from support.six_step_training import LENGTH, ROWS, STEPS, train
from support.trainable_model import load, same
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD

from lcx_lightning.training import module
from lcx_lightning.training.callbacks.nonfinite import NonFiniteError, NonFiniteGuard
from lcx_lightning.training.loss import next_token_loss
from lcx_lightning.training.module import seed_of_step

BROKEN = 2  # the step that is not finite


def spoilt(how):
    """Return the loss, spoilt in one step."""

    def loss(model, ids, **given):
        true = next_token_loss(model, ids, **given)
        return how(model, true) if given.get("placement_seed") == seed_of_step(3, BROKEN) else true

    return loss


def no_loss(model, loss):
    return loss * float("nan")


def no_gradient(model, loss):
    return loss + (0 * next(model.parameters()).sum()).sqrt()  # 0, whose slope is infinite


either = pytest.mark.parametrize("how", [no_loss, no_gradient])


@either
@pytest.mark.parametrize("name", ["pretrained", "clex"])
def test_a_step_that_is_not_finite_stops_the_run_and_says_what_it_was_made_of(data, tmp_path, monkeypatch, how, name):
    monkeypatch.setattr(module, "next_token_loss", spoilt(how))
    with pytest.raises(NonFiniteError) as raised:
        train(data, tmp_path, name=name)
    said = str(raised.value)
    assert f"step {BROKEN} of {STEPS} has a loss of" in said
    assert ("a loss of nan" in said) == (how is no_loss)
    assert "gradient of norm nan" in said
    for names in data.documents(BROKEN, 3, ROWS, LENGTH):
        assert " + ".join(names) in said
    placement_seed = seed_of_step(3, BROKEN)
    assert (f"(placement_seed {placement_seed})" in said) == (name == "clex")
    if name == "clex":
        positions = load(name).base_model.attached.method.positions
        factor = positions.place(torch.tensor([LENGTH]), 32, placement_seed).factor
        assert f"sampled factor is {float(factor):.6g}" in said
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == BROKEN


@either
def test_a_step_that_is_left_out_is_counted_and_changes_nothing(data, tmp_path, monkeypatch, how):
    monkeypatch.setattr(module, "next_token_loss", spoilt(how))
    outcome = train(
        data, tmp_path, optimizer=lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9), skip_nonfinite=True
    )
    assert outcome.throughput["skipped_steps"] == 1
    assert outcome.throughput["steps"] == STEPS
    model = load().train()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in (step for step in range(STEPS) if step != BROKEN):
        loss = next_token_loss(model, data.batch(step, 3, ROWS, LENGTH)["input_ids"])
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 0.1 * [0.5, 1, 1, 0.75, 0.5, 0.25][step]
        optimizer.step()
    for trained, plain in zip(outcome.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(trained, plain, rtol=0, atol=1e-6)


def test_the_optimizers_of_the_recipes_leave_out_a_step_too(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "next_token_loss", spoilt(no_loss))
    trained = train(data, tmp_path, skip_nonfinite=True).model
    assert all(p.isfinite().all() for p in trained.parameters())


def test_a_finite_run_is_what_it_is_without_the_guard(data, tmp_path, monkeypatch):
    guarded = train(data, tmp_path / "with", name="clex").model.state_dict()
    monkeypatch.setattr(NonFiniteGuard, "on_before_optimizer_step", lambda *_: None)
    assert same(guarded, train(data, tmp_path / "without", name="clex").model.state_dict())


def test_the_documents_of_both_micro_batches_are_named_and_the_count_outlives_a_restart(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "next_token_loss", spoilt(no_loss))
    with pytest.raises(NonFiniteError) as raised:
        train(data, tmp_path, micro_batches=2)
    first, second = (data.documents(2 * BROKEN + i, 3, ROWS, LENGTH) for i in range(2))
    assert "; ".join(" + ".join(names) for names in first + second) in str(raised.value)
    guard, after = (NonFiniteGuard(skip=True, documents=lambda batch: []) for _ in range(2))
    guard.skipped = 3
    after.load_state_dict(guard.state_dict())
    assert after.skipped == 3


def test_rows_are_named_after_the_documents_whose_text_they_hold(stdlib, data):
    texts = {document.name: document.text.encode() for document in stdlib.documents("train")}
    only = type(data)(stdlib, data.tokens, {"corpus": 1.0})
    rows = only.batch(5, 0, 4, 512)["input_ids"].tolist()
    for row, names in zip(rows, only.documents(5, 0, 4, 512), strict=True):
        starts = [i for i, token in enumerate(row) if token == 256]
        parts = [bytes(row[a + 1 : b]) for a, b in zip(starts, [*starts[1:], len(row)], strict=True)]
        assert len(names) == len([part for part in parts if part])
        assert all(part in texts[name] for name, part in zip(names, parts, strict=False))
    mixed = data.documents(5, 0, 4, 512)
    assert mixed == data.documents(5, 0, 4, 512)
    assert {name for names in mixed for name in names} <= set(texts)
