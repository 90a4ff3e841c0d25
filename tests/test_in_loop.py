"""Evaluation in the loop: training ends with the same weights, to the last bit, and rows tell their step."""

import json

import pytest
import torch
from lab import TINY, TRAINING, arms_of, composed, folders, launch, runs
from learning import load, same

from experiments.in_loop import FILE, first_of_each_length, means
from lcx_lightning.evaluation.base import Piece
from lcx_lightning.training.in_loop import untouched

LINE = ["method=clex", "training=finetune", "factor=4", "train_factor=2", *TINY, *TRAINING, "training.steps=4"]
LOOP = [
    "in_loop.every=2",
    "evaluation=[growing_context,attention,frequencies]",
    *("evaluation.attention.multiples=[1,2]", "evaluation.attention.windows=2", "evaluation.attention.last=16"),
    *("evaluation.frequencies.multiples=[1,2]", "evaluation.attention.layers=1"),
]
TWO = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
SPLIT = [*TWO, "trainer.strategy.context=2"]


def trained(root):
    """Return the weights of the one model that was trained, and the run."""
    (path,) = (root / "cache" / "extend").glob("*/model.pt")
    (run,) = runs(root / "results" / "run").values()
    return torch.load(path, weights_only=True), run


def rows_of(run):
    return [json.loads(line) for line in (run.folder / FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Weights, run and looks by how the arm was trained."""
    lines = {"alone": LINE, "looked at": [*LINE, *LOOP], "two": [*LINE, *LOOP, *TWO], "split": [*LINE, *LOOP, *SPLIT]}
    lines["two, alone"] = [*LINE, *TWO]
    found, base = {}, None
    for name, line in lines.items():
        root = tmp_path_factory.mktemp("loop")
        if base is not None:
            (root / "cache").mkdir()
            (root / "cache" / "base").symlink_to(base)
        done = launch(*line, *folders(root))
        assert done.returncode == 0, done.stdout + done.stderr
        base = base or root / "cache" / "base"
        found[name] = trained(root)
    return found


def test_training_ends_with_the_same_weights_to_the_last_bit(results):
    assert same(results["alone"][0], results["looked at"][0])
    assert same(results["two, alone"][0], results["two"][0])
    assert not (results["alone"][1].folder / FILE).exists()


def test_every_evaluation_has_its_rows_at_every_step_asked_for(results):
    _, run = results["looked at"]
    rows = rows_of(run)
    assert {row["step"] for row in rows} == {2, 4}
    for step in (2, 4):
        assert {row["evaluation"] for row in rows if row["step"] == step} == {
            "growing_context",
            "attention",
            "frequencies",
        }
    assert {row["run"] for row in rows} == {run.info["run"]}
    assert not any("step" in row for row in run.rows)


def numbers(rows, step):
    left_out = ("value", "n", "step", "run", "base")
    told = [row for row in rows if row.get("step") == step]
    return {tuple(sorted((k, str(v)) for k, v in row.items() if k not in left_out)): row["value"] for row in told}


def test_the_last_look_sees_what_is_evaluated_after_training(results):
    _, run = results["looked at"]
    ours, after = numbers(rows_of(run), 4), numbers(run.rows, None)
    assert ours.keys() <= after.keys()
    assert {name: after[name] for name in ours} == pytest.approx(ours, rel=1e-4, abs=1e-5)
    assert numbers(rows_of(run), 2) != ours


@pytest.mark.parametrize("name", ["two", "split"])
def test_two_processes_see_what_one_does(results, name):
    ours, expected = (numbers(rows_of(results[which][1]), 4) for which in (name, "looked at"))
    assert ours.keys() == expected.keys()
    assert ours == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_look_leaves_modes_and_random_states_as_they_were_also_when_it_fails():
    model = load("clex").train()
    model.lm_head.eval()
    before = {name: module.training for name, module in model.named_modules()}
    random = torch.random.get_rng_state()
    assert untouched(model, lambda: (model.training, torch.rand(3))[0]) is False
    assert torch.equal(random, torch.random.get_rng_state())
    with pytest.raises(ZeroDivisionError):
        untouched(model, lambda: 1 / 0)
    assert before == {name: module.training for name, module in model.named_modules()}


def test_of_each_length_the_first_batches_are_looked_at():
    def piece(*lengths, protocol="p"):
        return Piece([{"evaluation": "e", "protocol": protocol, "context_length": n} for n in lengths], None)

    pieces = [piece(1), piece(1), piece(2), piece(1), piece(1, 3), piece(2, protocol="q")]
    assert [pieces.index(p) for p in first_of_each_length(pieces, 1)] == [0, 2, 4, 5]
    assert [pieces.index(p) for p in first_of_each_length(pieces, 2)] == [0, 1, 2, 4, 5]


def test_loggers_are_told_means_by_protocol_metric_and_length():
    rows = [
        {"protocol": "p", "metric": "nll", "context_length": n, "value": v, "n": 2}
        for n, v in ((8, 3), (8, 5), (16, 1))
    ]
    assert means(rows) == {"in_loop/p/nll/8": 2, "in_loop/p/nll/16": 0.5}


def test_keys_are_those_of_before_unless_there_is_a_look(tmp_path):
    def arm(*more):
        return arms_of(*LINE, *folders(tmp_path), *more)[0]

    plain, looked = arm(), arm("in_loop.every=2")
    without = arm()
    del without.config["in_loop"]
    assert (plain.run, plain.extend_key) == (without.run, without.extend_key)
    assert arm("in_loop.batches=3").run == plain.run
    assert looked.base_key == plain.base_key
    assert looked.extend_key != plain.extend_key
    assert composed().in_loop.every == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([*LINE, "in_loop.every=-1"], "in_loop.every must be a whole number of at least 0"),
        ([*LINE, "in_loop.every=2", "in_loop.batches=0"], "in_loop.batches must be a whole number of at least 1"),
        ([*TINY, "method=yarn", "in_loop.every=2"], "in_loop.every=2 would change nothing: no arm is trained"),
        ([*LINE, "in_loop.every=2", "+in_loop.evaluation.absent.windows=2"], "choose one with evaluation=NAME"),
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
    from experiments.grid import load_data
    from experiments.in_loop import Looks

    (arm,) = arms_of(*LINE, *LOOP, "+in_loop.evaluation.frequencies.multiples=[2]", *folders(tmp_path))
    looks = Looks(arm, load_data(arm.config, {}), tmp_path / FILE)
    model = load("clex").eval()
    told = looks(model, 7)
    assert told.keys() == {"in_loop/frequency_spectrum/inv_freq/128", "in_loop/ode_drift/drift/128"}
    looks(model, 7)
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert len(rows) == 2 * 4
    assert {row["step"] for row in rows} == {7}
