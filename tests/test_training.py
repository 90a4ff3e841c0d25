"""Training: loss, optimizer, schedule and resume, under Lightning's own Trainer."""

import logging
from functools import partial

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from lab import composed
from omegaconf import OmegaConf
from torch.nn.functional import log_softmax
from torch.optim import SGD, AdamW, Muon

from lcx_lightning.attachment import attach
from lcx_lightning.configs import build_method, read_method
from lcx_lightning.data.corpus import SPLITS, Corpus, Document
from lcx_lightning.data.module import LongContextDataModule
from lcx_lightning.data.source import LongContextData
from lcx_lightning.data.tokens import ByteTokens
from lcx_lightning.method import Method
from lcx_lightning.models import EmbeddedModel, rope_spec
from lcx_lightning.training.checkpoint import WholeCheckpoints
from lcx_lightning.training.fit import fit
from lcx_lightning.training.module import LongContextModule, draw_seed
from lcx_lightning.training.optimizer import MuonAdamW, adamw, parameter_groups
from lcx_lightning.training.progress import Progress
from lcx_lightning.training.schedule import warmup_stable_decay

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")

RATES = {"matrix_lr": 0.02, "lr": 0.003, "method_lr": 0.01, "betas": (0.9, 0.95)}
STEPS, ROWS, LENGTH = 6, 2, 64
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SOURCE = EmbeddedModel(
    architecture={"model_type": "llama", "vocab_size": 257, "max_position_embeddings": 32, "bos_token_id": 256} | SIZES
)


class Code(Corpus):
    """Three documents a split."""

    name = "code"

    def read(self):
        return {s: [Document(f"{s}-{i}", f"{s} {i} for x in y: z += {i}\n" * 60) for i in range(3)] for s in SPLITS}


class KilledError(Exception):
    """An interruption."""


@pytest.fixture(scope="module")
def data():
    return LongContextData(Code(), ByteTokens(), {"corpus": 1.0})


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def load(name="pretrained"):
    torch.manual_seed(0)
    model = SOURCE.load(None)
    sizes = {"factor": 4, "train_factor": 2, "pretrain_length": 32}
    method = OmegaConf.create(sizes | {"method": read_method(name)}).method
    return attach(model, build_method(method, rope_spec(model.config)))


def train(data, folder, *, name="pretrained", optimizer=None, report=lambda *told: None, steps=STEPS, seconds=1e-6):
    """Train for six steps, with a checkpoint at every one."""
    module = LongContextModule(
        partial(load, name),
        optimizer=optimizer or partial(MuonAdamW, **RATES),
        schedule=warmup_stable_decay(steps=steps, warmup=1, decay=0.5),
        seed=3,
    )
    batches = LongContextDataModule(data, seed=3, rows=ROWS, length=LENGTH, steps=steps, validation_steps=2)
    trainer = partial(
        L.Trainer, accelerator="cpu", devices=1, max_steps=steps, gradient_clip_val=1.0, default_root_dir=folder
    )
    return fit(
        module, batches, trainer, tokens=128, folder=folder, checkpoint_seconds=seconds, report=report, logger=False
    )


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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
        context.setattr(Progress, "on_train_batch_start", stop, raising=False)
        context.setattr(Progress, "on_validation_start", stop, raising=False)  # after the last step
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
    path, checkpoints = tmp_path / "last.ckpt", WholeCheckpoints()
    checkpoints.save_checkpoint({"step": 1}, path)

    def torn(self, checkpoint, path, storage_options=None):
        with open(path, "wb") as file:
            file.write(b"half")
        raise KilledError

    monkeypatch.setattr(WholeCheckpoints.__bases__[0], "save_checkpoint", torn)
    with pytest.raises(KilledError):
        checkpoints.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_checkpoints_are_as_far_apart_as_asked(data, tmp_path):
    train(data, tmp_path, seconds=3600)
    assert not (tmp_path / "last.ckpt").exists()


def test_progress_is_told_up_to_the_last_step(data, tmp_path):
    told = []
    train(data, tmp_path, report=lambda *words: told.append(words))
    done, total, words = told[-1]
    assert (done, total) == (STEPS, STEPS)
    assert "tokens/s, loss" in words


# The optimizer


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
    source = EmbeddedModel(architecture=SOURCE.architecture | {"tie_word_embeddings": True})
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


@pytest.mark.parametrize(("name", "moves"), [("clex", True), ("clex_blocks", True), ("clex_frozen", False)])
def test_a_learned_scaling_learns_and_a_frozen_one_does_not(data, tmp_path, name, moves):
    before = {k: v.clone() for k, v in load(name).base_model.method.state_dict().items()}
    after = train(data, tmp_path, name=name, steps=3).model.base_model.method.state_dict()
    assert before
    assert same(before, after) != moves


def test_the_method_learns_at_its_own_rate(data, tmp_path):
    still = train(data, tmp_path, name="clex", optimizer=partial(MuonAdamW, **RATES | {"method_lr": 0.0}), steps=3)
    assert same(still.model.base_model.method.state_dict(), load("clex").base_model.method.state_dict())
    assert not same(still.model.state_dict(), load("clex").state_dict())


# The schedule and the draws


def test_the_schedule_rises_stays_and_falls_as_by_hand():
    factor = warmup_stable_decay(steps=10, warmup=3, decay=0.4)
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5, 0]
    assert [factor(step) for step in range(11)] == pytest.approx(expected)


def test_a_schedule_without_decay_stays():
    factor = warmup_stable_decay(steps=10, warmup=0, decay=0.0)
    assert [factor(step) for step in range(10)] == [1] * 10


@pytest.mark.parametrize(("warmup", "decay"), [(11, 0.0), (6, 0.5), (0, 1.5), (0, -0.1), (-1, 0.0)])
def test_a_schedule_that_does_not_fit_is_refused(warmup, decay):
    with pytest.raises(ValueError, match="A schedule of 10 steps has room for warm-up and decay"):
        warmup_stable_decay(steps=10, warmup=warmup, decay=decay)


@pytest.mark.parametrize("name", ["finetune", "papers"])
def test_the_schedules_of_the_config_files_fit_their_steps(name):
    recipe = composed(f"training={name}").training
    factor = warmup_stable_decay(steps=recipe.steps, **recipe.schedule)
    assert max(map(factor, range(recipe.steps))) == 1
    assert all(factor(step) > 0 for step in range(recipe.steps))
    assert instantiate(recipe.optimizer)


def test_draws_are_equal_for_equal_seed_and_step_and_differ_otherwise():
    draws = {(seed, step): draw_seed(seed, step) for seed in range(3) for step in range(200)}
    assert len(set(draws.values())) == len(draws)
    assert all(draw_seed(*key) == draw for key, draw in draws.items())
    assert draw_seed(0, 1) != draw_seed(1, 0)


def test_every_step_places_its_tokens_anew_and_validation_as_in_evaluation(data, tmp_path, monkeypatch):
    drawn, rope = [], Method.rope
    monkeypatch.setattr(
        Method,
        "rope",
        lambda self, valid, queries, draw=None, *rest: drawn.append(draw) or rope(self, valid, queries, draw),
    )
    train(data, tmp_path, name="clex", steps=3)
    probe, *trained = drawn
    assert probe is None
    assert trained == [draw_seed(3, 0), draw_seed(3, 1), draw_seed(3, 2), None, None]
