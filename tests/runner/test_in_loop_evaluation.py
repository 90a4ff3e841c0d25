"""Evaluation in the loop: training ends with the same weights, to the last bit, and rows tell their step."""

import json
import math
import time

import pytest
import torch
from support import two_process_training
from support.lab import TINY, TRAINING, arms_of, composed, folders, results, run_here, runs
from support.trainable_model import load, same
from support.two_process_training import train, two_processes

from lcx_lightning.evaluation.base import WorkUnit
from lcx_lightning.results import records
from lcx_lightning.runner.in_loop_evaluation import FILE, first_of_each_length, means
from lcx_lightning.training.callbacks.evaluate import without_side_effects

LINE = ["method=clex", "training=finetune", "factor=4", "train_factor=2", *TINY, *TRAINING, "training.steps=4"]
LOOP = [
    "in_loop.every=2",
    "evaluation=[growing_context,attention,frequencies]",
    *("evaluation.attention.multiples=[1,2]", "evaluation.attention.windows=2", "evaluation.attention.last=16"),
    *("evaluation.frequencies.multiples=[1,2]", "evaluation.attention.layers=1"),
]
TRAININGS = {
    "plain": {},
    "looked at": {"looks": True},
    "micro-batches": {"looks": True, "micro": 2},
    "split": {"looks": True, "context": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An arm that was looked at while it was trained."""
    root = tmp_path_factory.mktemp("loop")
    run_here(*LINE, *LOOP, *folders(root))
    (run,) = runs(results(root)).values()
    return run


@pytest.fixture(scope="module")
def rows(run):
    return [json.loads(line) for line in (run.folder / FILE).read_text().splitlines()]


def test_every_evaluation_has_its_rows_at_every_step_asked_for(run, rows):
    chosen = {"growing_context", "attention", "frequencies"}
    found = {(row["at"]["step"], row["evaluation"]) for row in rows}
    assert found == {(step, name) for step in (2, 4) for name in chosen}
    assert {row["run"] for row in rows} == {run.info["run"]}
    assert not any("step" in row["at"] for row in run.rows)


def numbers(rows, step):
    found = [row for row in rows if row["at"].get("step") == step]
    return {records.identity(row | {"at": row["at"] | {"step": None}}): row["value"] for row in found}


def test_the_last_look_sees_what_is_evaluated_after_training(run, rows):
    ours, after = numbers(rows, 4), numbers(run.rows, None)
    assert ours.keys() <= after.keys()
    assert {name: after[name] for name in ours} == pytest.approx(ours, rel=1e-4, abs=1e-5)
    assert numbers(rows, 2) != ours


# Weights


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """What one process made of trainings, and what two did, by (processes, name)."""
    folder = tmp_path_factory.mktemp("trainings")

    def job(processes, name):
        path = folder / f"{processes} {name}"
        path.mkdir()
        return train, (path, "clex", "muon"), TRAININGS[name]

    two = two_processes([job(2, name) for name in TRAININGS], folder)
    one = [function(*given, **options) for function, given, options in (job(1, "plain"), job(1, "looked at"))]
    found = {(2, name): what for name, what in zip(TRAININGS, two, strict=True)}
    return found | {(1, "plain"): one[0], (1, "looked at"): one[1]}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_training_ends_with_the_same_weights_to_the_last_bit(trainings, processes):
    assert trainings[processes, "looked at"]["looks"]
    assert not trainings[processes, "plain"]["looks"]
    assert same(trainings[processes, "plain"]["weights"], trainings[processes, "looked at"]["weights"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["looked at", "micro-batches", "split"])
def test_two_processes_see_what_one_does_also_where_they_share_texts_in_training(trainings, name):
    seen = trainings[2, name]["looks"], trainings[1, "looked at"]["looks"]
    for step in (2, 4):
        ours, expected = (numbers(rows, step) for rows in seen)
        assert len(expected) > 20
        assert ours == pytest.approx(expected, rel=0.01, abs=0.01)  # Muon rounds in bfloat16


def test_a_look_leaves_modes_and_random_states_as_they_were_also_when_it_fails():
    model = load("clex").train()
    model.lm_head.eval()
    before = {name: module.training for name, module in model.named_modules()}
    random = torch.random.get_rng_state()
    assert without_side_effects(model, lambda: (model.training, torch.rand(3))[0]) is False
    assert torch.equal(random, torch.random.get_rng_state())
    with pytest.raises(ZeroDivisionError):
        without_side_effects(model, lambda: 1 / 0)
    assert before == {name: module.training for name, module in model.named_modules()}


def test_the_time_of_a_look_is_no_part_of_that_of_training(tmp_path, monkeypatch):
    spent, now = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + spent[0])

    def look(seen, model, step):
        spent[0] += 1e6
        return {}

    monkeypatch.setattr(two_process_training, "look", look)
    assert train(tmp_path, "pi", "sgd", looks=True)["seconds"] < 1e6
    assert spent == [2e6]


def test_of_each_length_the_first_batches_are_looked_at():
    def unit(*lengths, protocol="p"):
        return WorkUnit([{"evaluation": "e", "protocol": protocol, "context_length": n} for n in lengths], next(number))

    number = iter(range(6))
    work_units = [unit(1), unit(1), unit(2), unit(1), unit(1, 3), unit(2, protocol="q")]
    assert [p.compute for p in first_of_each_length(work_units, 1)] == [0, 2, 4, 5]
    assert [p.compute for p in first_of_each_length(work_units, 2)] == [0, 1, 2, 4, 5]


def test_loggers_are_told_means_by_protocol_metric_and_length():
    rows = [
        {"protocol": "p", "metric": "nll", "context_length": n, "value": v, "n": 2}
        for n, v in ((8, 3), (8, 5), (16, 1))
    ]
    told = means(rows, 8)
    assert {name: told[f"in_loop/p/nll/{name}"] for name in ("8", "1L", "16", "2L")} == {
        "8": 2,
        "1L": 2,
        "16": 0.5,
        "2L": 0.5,
    }
    assert told["in_loop/p/perplexity/2L"] == told["in_loop/p/perplexity/16"] == math.exp(0.5)
    assert means([rows[0] | {"value": 2e4}], 8)["in_loop/p/perplexity/1L"] == math.inf
    assert means([rows[0] | {"metric": "drift"}], 8).keys() == {"in_loop/p/drift/8", "in_loop/p/drift/1L"}


def test_keys_are_those_of_before_unless_there_is_a_look(tmp_path):
    def arm(*more):
        return arms_of(*LINE, *folders(tmp_path), *more)[0]

    plain, looked = arm(), arm("in_loop.every=2")
    without = arm()
    del without.config["in_loop"]
    assert (plain.run, plain.extend_key) == (without.run, without.extend_key)
    assert looked.base_key == plain.base_key
    assert looked.extend_key != plain.extend_key
    assert arm("in_loop.every=2", "evaluation.growing_context.last=8").extend_key != looked.extend_key
    assert arm("evaluation.growing_context.last=8").extend_key == plain.extend_key
    assert composed().in_loop.every == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([*LINE, "in_loop.every=-1"], "in_loop.every must be a whole number of at least 0"),
        ([*LINE, "in_loop.every=2", "in_loop.batches=0"], "in_loop.batches must be a whole number of at least 1"),
        ([*TINY, "method=yarn", "in_loop.every=2"], "in_loop.every=2 would change nothing: no arm is trained"),
        ([*LINE, "in_loop.every=2", "+in_loop.evaluation.absent.windows=2"], "in_loop.evaluation names absent"),
        (
            [*LINE, "in_loop.every=2", "+in_loop.evaluation.growing_context.multiples=[1,100000]"],
            "Ask for a shorter length",
        ),
    ],
)
def test_looks_that_cannot_be_are_refused_before_anything_starts(tmp_path, line, said):
    with pytest.raises(ValueError, match=said):
        arms_of(*line, *folders(tmp_path))


def test_changes_of_an_evaluation_in_the_loop_choose_it_alone(tmp_path):
    from lcx_lightning.runner.built_arm import BuiltArm
    from lcx_lightning.runner.in_loop_evaluation import InLoopEvaluation

    (arm,) = arms_of(*LINE, *LOOP, "+in_loop.evaluation.frequencies.multiples=[2]", *folders(tmp_path))
    evaluate = InLoopEvaluation(BuiltArm(arm), tmp_path / FILE)
    model = load("clex").eval()
    told = evaluate(model, 7)
    spectrum, drift = "in_loop/frequency_spectrum/inv_freq", "in_loop/ode_drift/drift"
    assert told.keys() == {f"{name}/{length}" for name in (spectrum, drift) for length in ("128", "2L")}
    evaluate(model, 7)
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert len(rows) == 2 * 4
    assert {row["at"]["step"] for row in rows} == {7}


def test_nothing_is_looked_at_beyond_the_reach_of_the_method(tmp_path):
    from lcx_lightning.runner.built_arm import BuiltArm
    from lcx_lightning.runner.in_loop_evaluation import InLoopEvaluation

    (arm,) = arms_of(*LINE, *LOOP, *folders(tmp_path))
    lengths = []
    for arm.max_context in (None, 64):
        evaluate = InLoopEvaluation(BuiltArm(arm), tmp_path / FILE)
        lengths.append({row["context_length"] for unit in evaluate._work_units for row in unit.rows})
    assert max(lengths[0]) > 64
    assert lengths[1] == {64}
