"""Forecasts of memory: what is counted, what a shallow model says of a deep one, and what is printed."""

import re
from dataclasses import astuple

import pytest
import torch
from support.lab import EVALUATION, TINY, TRAINING, built_arms_of, folders, launch
from torch._subclasses.fake_tensor import FakeTensorMode

from lcx_lightning.evaluation.perplexity.growing_context import GrowingContext
from lcx_lightning.evaluation.perplexity.streaming import Streaming
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import skeleton
from lcx_lightning.runner.hardware import Hardware
from lcx_lightning.runner.preview import memory_model
from lcx_lightning.runner.preview.forecast import Forecast, Setting, layers_sharded, sharded
from lcx_lightning.runner.preview.memory_model import Footprint, Ledger, evaluation_footprint, training_footprint
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.training.loss import next_token_loss

ADAMW = {
    "_target_": "lcx_lightning.training.adamw",
    "_partial_": True,
    "lr": 1e-3,
    "method_lr": 1e-3,
    "betas": [0.9, 0.95],
    "weight_decay": 0.0,
}
COUNTS = {"steps": 1, "rows": 4, "length_factor": 1, "validation_steps": 1}
RECIPE = Recipe.read(COUNTS | {"clip": 1.0, "optimizer": ADAMW, "schedule": {"warmup": 0, "decay": 0.0}}, 32, "test")
STEP = {"rows": 4, "length": 32, "attention": "auto", "precision": "32-true", "checkpointing": False}


def step_of(tiny, build, method="pi", model=None, **changes):
    config = (model or tiny()).config
    return training_footprint(config, build(method, rope_spec(config)), RECIPE, **STEP | changes)


def test_memory_is_counted_from_when_it_is_taken_to_when_it_is_given_back():
    with FakeTensorMode(), Ledger() as ledger:
        a = torch.zeros(1000)
        view = a[10:].view(-1, 2)
        assert ledger.held == 4000
        b = a + 1
        assert ledger.held == 8000
        b += 1
        del b, a
        assert ledger.held == 4000
        del view
        assert (ledger.held, ledger.peak) == (0, 8000)


def test_weights_gradients_and_states_of_adamw_are_the_bytes_of_the_parameters(tiny, build):
    model = tiny()
    found = step_of(tiny, build, model=model)
    parameters = sum(4 * p.numel() for p in model.parameters())
    assert found.gradients == parameters
    assert found.weights == pytest.approx(parameters, rel=0.02)  # and buffers and tables of a pass
    assert found.optimizer == pytest.approx(2 * parameters, rel=0.01)
    assert found.peak > 4 * parameters + found.activations * 0.9
    assert found.logits == 4 * STEP["rows"] * STEP["length"] * 64


@pytest.mark.parametrize("method", ["pi", "clex", "lm_infinite"])
def test_what_is_kept_for_the_backward_pass_is_what_a_true_pass_keeps(extended, tiny, build, method):
    model = extended(method).train()
    ids = torch.ones(STEP["rows"], STEP["length"], dtype=torch.int64)
    next_token_loss(model, ids, placement_seed=0).backward()
    with Ledger() as ledger:
        known = [x.detach() for p in model.parameters() for x in (p, p.grad) if x is not None]
        before = ledger.held  # weights and gradients, which views of them would count as
        loss = next_token_loss(model, ids, placement_seed=0)
        kept = ledger.held - before
    loss.backward()
    assert known
    assert step_of(tiny, build, method).activations == pytest.approx(kept, rel=0.05)


def test_a_deep_model_is_forecast_from_a_shallow_one(tiny, build, monkeypatch):
    model = tiny(num_hidden_layers=7)
    told = step_of(tiny, build, model=model)
    monkeypatch.setattr(memory_model, "MORE", 100)
    assert astuple(told) == pytest.approx(astuple(step_of(tiny, build, model=model)), rel=0.02)


def test_checkpointing_and_bfloat16_keep_less_and_more_rows_keep_more(tiny, build):
    plain = step_of(tiny, build, length=32)
    assert step_of(tiny, build, checkpointing=True).activations < 0.5 * plain.activations
    assert step_of(tiny, build, precision="bf16-mixed").activations < 0.9 * plain.activations
    more = step_of(tiny, build, rows=8)
    assert more.activations == pytest.approx(2 * plain.activations, rel=0.05)
    assert more.weights == plain.weights


def test_a_pass_of_evaluation_keeps_nothing(tiny, build):
    config = tiny().config
    found = evaluation_footprint(config, build("pi", rope_spec(config)), rows=4, length=32, attention="auto")
    assert (found.gradients, found.optimizer, found.activations) == (0, 0, 0)
    assert found.weights < found.peak < step_of(tiny, build).peak


def test_devices_share_weights_and_gather_two_layers():
    whole = Footprint(weights=80, gradients=80, optimizer=160, activations=40, logits=8, peak=400)
    assert sharded(whole, 1, 8) is whole
    half = sharded(whole, 2, 8)
    assert (half.weights, half.gradients, half.optimizer, half.activations) == (40, 40, 80, 40)
    assert half.peak == 400 - 160 + 2 * 80 / 8


def test_rows_at_once_are_those_of_a_micro_batch_of_a_device():
    assert Setting(rows=64, devices=8).rows_at_once == 8
    assert Setting(rows=64, devices=8, micro_batches=4).rows_at_once == 2
    assert Setting(rows=5, devices=2).rows_at_once == 3


@pytest.fixture
def arm(tmp_path):
    line = ["method=clex", "train_factor=1", "training=finetune", *TINY, *TRAINING, *folders(tmp_path)]
    return built_arms_of(*line)[0]


def test_time_is_flops_over_what_the_hardware_keeps_up_and_cost_is_time_by_price(arm):
    stages = Forecast(arm, Hardware("a device", 1e6, 2**40, 7.2, "assumed")).stages()
    assert [stage.name for stage in stages] == ["base", "extend", "evaluate"]
    for stage in stages:
        assert stage.seconds == stage.flops / 1e6
        assert stage.cost == pytest.approx(stage.seconds * 0.002)
    base, extend, evaluate = stages
    assert (base.steps, base.tokens) == (4, 4 * 2 * 68)  # rows of 17/16 L
    assert extend.tokens == 2 * 2 * 64
    assert evaluate.tokens == 2 * (64 + 128)
    assert all(stage.cost is None for stage in Forecast(arm, Hardware("x", None, 2**40, 7.2, "")).stages())


def test_evaluation_in_shards_takes_a_share_of_the_layers_and_one_of_them_whole(arm):
    config = arm.model.config
    config.num_hidden_layers = 4
    model = skeleton(config)
    layers, every = (sum(p.nbytes for p in part.parameters()) for part in (model.base_model.layers, model))
    whole = Footprint(every, 0, 0, 0, 0, every + 1000)
    found = layers_sharded(whole, 2, config)
    assert found.weights == pytest.approx(every - layers / 2)
    assert found.peak == pytest.approx(every - layers / 2 + layers / 4 + 1000)
    assert layers_sharded(whole, 1, config) == whole


def test_an_evaluation_that_reads_no_text_is_no_stage(tmp_path):
    line = ["method=yarn", "factor=32", "evaluation=frequencies", *TINY[: -len(EVALUATION)]]
    (arm,) = built_arms_of(*line, *folders(tmp_path))
    assert [stage.name for stage in Forecast(arm, Hardware("a device", 1e6, 2**40, None, "")).stages()] == ["base"]


def test_what_is_said_to_fit_takes_less_than_there_is(arm):
    (_, extend, _) = Forecast(arm, Hardware("a device", 1e6, 2**40, None, "")).stages()
    small = Forecast(arm, Hardware("a device", 1e6, 0.8 * extend.peak, None, ""))
    found = dict(small.fitting("extend"))
    assert any("accumulate_grad_batches=2" in words for words in found)
    assert all(peak <= 0.8 * extend.peak for peak in found.values())


def test_texts_that_work_units_say_they_read_are_those_of_their_rows(data):
    common = {"multiples": [1, 2], "windows": 3, "split": "test", "seed": 0}
    for unit in GrowingContext(**common, last=16, batch_tokens=200).work_units(data, 64, None):
        whole = [row["context_length"] for row in unit.rows if row["protocol"] == "whole_window"]
        (read,) = unit.reads
        assert sum(whole) == read.texts * read.tokens
        assert (read.rows, read.tokens) == (len(unit.rows) // 2, unit.rows[0]["context_length"])
    streams = Streaming(**common, chunk=32).work_units(data, 64, None)
    assert [unit.reads for unit in streams] == [[(1, 128, 1, 32)]] * 3


@pytest.mark.slow
def test_forecast_only_prints_every_arm_says_what_does_not_fit_and_runs_nothing(tmp_path):
    line = [
        "arms=['method=pi,lm_infinite training=finetune']",
        *TINY,
        *TRAINING,
        "dry_run=forecast",
        *folders(tmp_path),
    ]
    done = launch(*line, "hardware=h100", "hardware.price=2", "hardware.memory=4e5", "trainer=gpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    assert re.findall(r"^(\S+)   [\d,]+ parameters", done.stdout, re.MULTILINE) == ["pi", "lm_infinite"]
    rows = re.findall(r"^ *(base|extend|evaluate) +(.*)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == ["base", "extend", "evaluate"] * 2
    assert "does not fit: base needs" in done.stdout
    assert "These would fit" in done.stdout
    assert "40% of 989 TFLOP/s" in done.stdout
    assert "2 an hour" in done.stdout
