"""Names of metrics that are known before an arm runs: those that it logs, and no others."""

import re

import pytest
from support.lab import TINY, TRAINING, arms_of, folders, run_here

from lcx_lightning.results import records
from lcx_lightning.results.curves import read_curves
from lcx_lightning.results.logged import summary
from lcx_lightning.runner.sweep.metric_names import _names, why_not_logged

NEEDLES = ["evaluation=[growing_context,passkey]", "evaluation.passkey.depths=[0,0.5]", "evaluation.passkey.trials=1"]
NEEDLES += ["evaluation.passkey.multiples=[1,2]"]
FAR = [*NEEDLES, "evaluation.passkey.depths=null", "evaluation.passkey.distances=2"]
TRAINED = ["method=pi", "factor=2", "training=finetune", *TINY, *TRAINING, "in_loop.every=1"]
SHORT = "+in_loop.evaluation.growing_context.multiples=[1]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("needles", "name"), [(NEEDLES, "accuracy/passkey/2L/depth_0.5"), (FAR, "k_max/passkey/2L")], ids=["depths", "far"]
)
def test_every_name_that_a_run_logs_is_known_before(tmp_path, needles, name):
    longer = {"training.steps=2": "training.steps=10", "in_loop.every=1": "in_loop.every=10"}  # curves are by ten steps
    line = [*(longer.get(word, word) for word in TRAINED), *needles, SHORT, *folders(tmp_path)]
    arm = run_here(*line)
    logged = {name for row in read_curves(arm.cache("extend", arm.extend_key)) for name in row} - {"step", "epoch"}
    logged |= {*summary(records.read_run(arm.folder))}
    assert {name: why for name in logged if (why := why_not_logged(name, arm))} == {}
    assert {name, "holds_to/last_k", "ratio/last_k/2L/low", "accuracy/passkey/128"} <= logged
    assert {"train/loss", "train/grad_norm", "train/lr/weights", "cost/device_seconds"} <= logged
    assert {name for name in logged if name.startswith("in_loop/")} == {*arm.in_loop}
    named = {name for name in _names(arm) if not name.startswith(("throughput/", "train/", "validation/"))}
    assert named - logged <= {name for name in named if name.endswith(("/low", "/high"))}


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("accuracy/passkey/2L", ""),
        ("accuracy/passkey/4L", "512 tokens: it is not evaluated at this length"),
        ("accuracy/passkey/2L/depth_0.33", "Did you mean .*depth_0"),
        ("perplexity/last_k/4L", ""),
        ("perplexity/positions/zzz", "no such name"),
        ("perplexity/positions/4L", "no such name"),
        ("perplexity/positions/16", ""),
        ("base/validation_loss", "its base comes pretrained"),
        ("train/lr/method", "no such name"),
        ("k_max/passkey/1L", "no such name"),
    ],
)
def test_a_name_is_known_only_where_its_own_evaluation_has_it(tmp_path, metric, sentence):
    lengths = ["evaluation.growing_context.multiples=[1,2,4]", "evaluation.positions.multiples=[1,2]"]
    chosen = [NEEDLES[0].replace("]", ",positions]"), *NEEDLES[1:], *lengths]
    (arm,) = arms_of("method=pi", "factor=4", "training=finetune", *chosen, *folders(tmp_path))
    said = why_not_logged(metric, arm)
    assert bool(said) == bool(sentence), said
    assert re.search(sentence, said)


def test_names_that_stand_by_other_places_are_said_of_an_arm_with_few(tmp_path):
    (arm,) = arms_of("method=pi", "evaluation=frequencies", *folders(tmp_path))
    said = why_not_logged("perplexity/last_k/2L", arm)
    assert "drift/ode_drift/PLACE" in said
    assert not re.search(r"-\d+ more", said)


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("in_loop/last_k/nll/64", ""),
        ("in_loop/last_k/nll/1L", ""),
        ("in_loop/last_k/perplexity/1L", ""),
        ("in_loop/last_k/nll/128", "128 tokens: it is not evaluated at this length"),
        ("in_loop/last_k/nll", "Did you mean in_loop/last_k/nll/64"),
        ("in_loop/foo", "there is no such name"),
        ("train/los", "Did you mean train/loss"),
    ],
)
def test_what_is_logged_during_training_is_what_is_evaluated_there(tmp_path, metric, sentence):
    (arm,) = arms_of(*TRAINED, SHORT, *folders(tmp_path))
    said = why_not_logged(metric, arm)
    assert bool(said) == bool(sentence)
    assert re.search(sentence, said)
