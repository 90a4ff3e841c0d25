"""Training under Lightning's own Trainer: loss, resume, progress, and what learns."""

from collections import defaultdict
from functools import partial

import pytest
import torch
from support.six_step_training import LENGTH, OWNER, ROWS, STEPS, train
from support.text_corpora import CORPUS_ONLY, Books
from support.trainable_model import RATES, load, same
from torch.nn.functional import log_softmax
from torch.optim import SGD

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.methods.method import Method
from lcx_lightning.training.callbacks.checkpoint import WholeCheckpoints
from lcx_lightning.training.callbacks.throughput import Throughput
from lcx_lightning.training.loss import next_token_loss
from lcx_lightning.training.module import LongContextModule, seed_of_step
from lcx_lightning.training.optimizers import MuonAdamW

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@pytest.fixture(scope="module")
def data():
    texts = {split: [f"{split} {i} for x in y: z += {i}\n" * 60 for i in range(3)] for split in SPLITS}
    return LongContextData(Books(**texts), ByteTokens(), CORPUS_ONLY)


class KilledError(Exception):
    """An interruption."""


@torch.no_grad()
def validation_loss(model, data):
    ids = data.validation_batch(2 * ROWS, LENGTH, 3)["input_ids"]
    logs = log_softmax(model(input_ids=ids).logits[:, :-1].double(), dim=-1)
    return -float(logs.gather(2, ids[:, 1:, None]).mean())


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    return {name: train(data, tmp_path_factory.mktemp(name), name=name) for name in ("pretrained", "clex")}


def test_training_under_the_trainer_equals_a_plain_loop(data, tmp_path):
    outcome = train(data, tmp_path, optimizer=lambda model: SGD(model.parameters(), lr=0.1))
    model = load().train()
    optimizer = SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        ids = data.batch(step, 3, ROWS, LENGTH)["input_ids"]
        logits = model(input_ids=ids, use_cache=False).logits
        loss = -log_softmax(logits[:, :-1], dim=-1).gather(2, ids[:, 1:, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 0.1 * [0.5, 1, 1, 0.75, 0.5, 0.25][step]
        optimizer.step()
    for (name, trained), (_, plain) in zip(outcome.model.named_parameters(), model.named_parameters(), strict=True):
        torch.testing.assert_close(trained, plain, rtol=0, atol=1e-6, msg=name)
    assert outcome.validation_loss == pytest.approx(validation_loss(model, data), abs=1e-5)
    assert not outcome.model.training
    assert outcome.seconds > 0


@pytest.fixture
def logged(monkeypatch):
    """What modules log, by name."""
    found, plain = defaultdict(list), LongContextModule.log

    def log(module, name, value, **given):
        found[name].append(float(torch.as_tensor(value).detach()))
        plain(module, name, value, **given)

    monkeypatch.setattr(LongContextModule, "log", log)
    return found


def test_the_norm_of_the_gradient_is_logged_before_it_is_clipped(data, tmp_path, logged):
    train(data, tmp_path, optimizer=lambda model: SGD(model.parameters(), lr=0.0))  # the weights stay
    model, norms = load().train(), []
    for step in range(STEPS):
        model.zero_grad()
        next_token_loss(model, data.batch(step, 3, ROWS, LENGTH)["input_ids"]).backward()
        norms.append(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None) ** 0.5)
    assert logged["train/grad_norm"] == pytest.approx(norms, rel=1e-4)
    assert max(norms) > 1  # it was clipped at 1


def test_the_learning_rates_of_a_recipe_are_logged_by_what_they_are_of(data, tmp_path, logged):
    train(data, tmp_path, name="clex")
    shares = [0.5, 1, 1, 0.75, 0.5, 0.25]
    by_name = {"weights": RATES["lr"], "matrices": RATES["matrix_lr"], "method": RATES["method_lr"]}
    found = {name.removeprefix("train/lr/"): rates for name, rates in logged.items() if name.startswith("train/lr/")}
    assert found == {name: pytest.approx([rate * share for share in shares]) for name, rate in by_name.items()}


def test_training_lowers_the_loss(undisturbed, data):
    assert undisturbed["pretrained"].validation_loss < validation_loss(load(), data) - 0.1


@pytest.mark.parametrize("name", ["pretrained", "clex"])
@pytest.mark.parametrize("stopped_at", [1, 4, STEPS])
def test_an_interrupted_training_goes_on_where_it_stopped_and_ends_the_same(
    data, tmp_path, undisturbed, monkeypatch, name, stopped_at
):
    def stop(progress, trainer, *_):
        if trainer.global_step == stopped_at:
            raise KilledError

    with monkeypatch.context() as context:
        context.setattr(Throughput, "on_train_batch_start", stop, raising=False)
        context.setattr(Throughput, "on_validation_start", stop, raising=False)  # after the last step
        with pytest.raises(KilledError):
            train(data, tmp_path, name=name)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == stopped_at
    asked, batch = [], LongContextData.batch
    monkeypatch.setattr(
        LongContextData, "batch", lambda self, step, *rest: asked.append(step) or batch(self, step, *rest)
    )
    outcome = train(data, tmp_path, name=name)
    assert asked == list(range(stopped_at, STEPS))
    assert same(outcome.model.state_dict(), undisturbed[name].model.state_dict())
    assert outcome.validation_loss == undisturbed[name].validation_loss


def test_the_seconds_of_training_add_up_over_interruptions(data, tmp_path):
    train(data, tmp_path)
    path = tmp_path / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    (state,) = (state for state in saved["callbacks"].values() if "seconds" in state)
    state["seconds"] = 1e6
    torch.save(saved, path)
    assert train(data, tmp_path).seconds == pytest.approx(1e6, rel=1e-3)


def test_a_kill_in_the_middle_of_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path, checkpoints = tmp_path / "last.ckpt", WholeCheckpoints(OWNER)
    checkpoints.save_checkpoint({"step": 1}, path)

    def torn(error, saved, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", partial(torn, KilledError))
    with pytest.raises(KilledError):
        checkpoints.save_checkpoint({"step": 2}, path)
    assert checkpoints.load_checkpoint(path)["step"] == 1
    monkeypatch.setattr(torch, "save", partial(torn, OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=r"the previous one is kept: .*last.ckpt. .*No space left"):
        checkpoints.save_checkpoint({"step": 2}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoints.load_checkpoint(path)["step"] == 1


def test_progress_is_told_up_to_the_last_step(data, tmp_path):
    told = []
    train(data, tmp_path, report=lambda *words: told.append(words))
    done, total, words = told[-1]
    assert (done, total) == (STEPS, STEPS)
    assert "tokens/s, loss" in words


@pytest.mark.parametrize(("name", "moves"), [("clex", True), ("clex_blocks", True), ("clex_frozen", False)])
def test_a_learned_scaling_learns_and_a_frozen_one_does_not(data, tmp_path, name, moves):
    before = {k: v.clone() for k, v in load(name).base_model.attached.method.state_dict().items()}
    after = train(data, tmp_path, name=name, steps=3).model.base_model.attached.method.state_dict()
    assert before
    assert same(before, after) != moves


def test_the_method_learns_at_its_own_rate(data, tmp_path):
    still = train(data, tmp_path, name="clex", optimizer=partial(MuonAdamW, **RATES | {"method_lr": 0.0}), steps=3)
    assert same(
        still.model.base_model.attached.method.state_dict(), load("clex").base_model.attached.method.state_dict()
    )
    assert not same(still.model.state_dict(), load("clex").state_dict())


@pytest.mark.parametrize("recompute", [False, True])
def test_layers_run_again_in_the_backward_pass_if_asked_also_of_a_model_that_was_read(recompute):
    module = LongContextModule(
        lambda: load("pi").eval(), optimizer=SGD, schedule=lambda step: 1.0, seed=0, recompute=recompute
    )
    module.configure_model()
    calls = []
    module.model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    next_token_loss(module.model, torch.ones(1, 8, dtype=torch.int64)).backward()
    assert len(calls) == 1 + recompute


def test_draws_are_equal_for_equal_seed_and_step_and_differ_otherwise():
    draws = {(seed, step): seed_of_step(seed, step) for seed in range(3) for step in range(200)}
    assert len(set(draws.values())) == len(draws)
    assert all(seed_of_step(*key) == placement_seed for key, placement_seed in draws.items())
    assert seed_of_step(0, 1) != seed_of_step(1, 0)


def test_every_step_places_its_tokens_anew_and_validation_as_in_evaluation(data, tmp_path, monkeypatch):
    drawn, rope = [], Method.rope
    monkeypatch.setattr(
        Method,
        "rope",
        lambda self, valid, queries, placement_seed=None, *rest, **more: (
            drawn.append(placement_seed) or rope(self, valid, queries, placement_seed)
        ),
    )
    train(data, tmp_path, name="clex", steps=3)
    *tried, probe = drawn[:3]
    assert tried == [None, 0]  # by attach, with and without sampling
    assert probe is None
    assert drawn[3:] == [seed_of_step(3, 0), seed_of_step(3, 1), seed_of_step(3, 2), None, None]
