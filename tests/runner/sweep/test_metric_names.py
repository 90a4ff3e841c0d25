"""Names of metrics that are known before an arm runs: those that it logs, and no others."""

import re

import pytest
from support.lab import TINY, TRAINING, arms_of, folders, run_here

from lcx_lightning.results import records
from lcx_lightning.results.curves import read_curves
from lcx_lightning.results.logged import summary
from lcx_lightning.runner.sweep.metric_names import why_not_logged

NEEDLES = ["evaluation=[growing_context,passkey]", "evaluation.passkey.depths=[0,0.5]", "evaluation.passkey.trials=1"]
NEEDLES += ["evaluation.passkey.multiples=[1,2]"]
TRAINED = ["method=pi", "factor=2", "training=finetune", *TINY, *TRAINING, "in_loop.every=1"]
SHORT = "+in_loop.evaluation.growing_context.multiples=[1]"


@pytest.mark.slow
def test_every_name_that_a_run_logs_is_known_before(tmp_path):
    line = [*TRAINED, *NEEDLES, SHORT, *folders(tmp_path)]
    arm = run_here(*line)
    logged = {name for row in read_curves(arm.cache("extend", arm.extend_key)) for name in row} - {"step", "epoch"}
    logged |= {*summary(records.read_run(arm.folder))}
    assert {name: why for name in logged if (why := why_not_logged(name, arm))} == {}
    assert {"accuracy/passkey/2L/depth_0.5", "holds_to/last_k", "ratio/last_k/2L/low"} <= logged
    assert why_not_logged("accuracy/passkey/2L/depth_0.33", arm)
    assert {name for name in logged if name.startswith("in_loop/")} == {*arm.in_loop}


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("in_loop/last_k/nll/64", ""),
        ("in_loop/last_k/nll/1L", ""),
        ("in_loop/last_k/perplexity/1L", ""),
        ("in_loop/last_k/nll/128", "Did you mean .*in_loop/last_k/nll/64"),
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
