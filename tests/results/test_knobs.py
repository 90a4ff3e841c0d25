"""The flat mapping of what an arm was turned to."""

import pytest
from support.lab import TINY, TRAINING, arms_of, folders

from lcx_lightning.results.knobs import knobs
from lcx_lightning.runner.run_json import described

EMPTY = {"method": "pi", "arm": "pi", "seed": 0}


@pytest.fixture(scope="module")
def of(tmp_path_factory):
    """A function: overrides -> the knobs of the one arm of that line, before it runs."""
    places = folders(tmp_path_factory.mktemp("knobs"))
    return lambda *line: knobs(described(arms_of(*TINY, *places, *line)[0]))


def test_an_arm_that_is_trained_says_how(of):
    known = of("method=clex", "training=finetune", *TRAINING, "factor=4", "train_factor=2", "width=0.5")
    assert (known["arm"], known["method"], known["trained"], known["factor"]) == ("clex", "clex", True, 4)
    assert (known["train_factor"], known["pretrain_length"], known["train_length"]) == (2, 64, 128)
    assert (known["ode_width"], known["ode_steps"], known["ode_solver"]) == (0.5, 6, "rk4")
    assert (known["ode_activation"], known["alpha_slope"], known["max_context"]) == ("tanh", 2, 256)
    assert (known["scaling"], known["positions"], known["pattern"]) == ("CLEX", "SampledPositions", "Causal")
    assert known["max_factor"] == 4
    assert (known["lr"], known["method_lr"], known["steps"], known["rows"]) == (0.0003, 0.0001, 2, 2)
    assert (known["model"], known["data"], known["experiment"]) == ("embedded", "sympy", "embedded-sympy")


def test_a_method_without_a_factor_and_without_training_has_none(of):
    known = of("method=lm_infinite", "window=16", "sink_tokens=4", "distance_limit=null")
    assert (known["window"], known["sink_tokens"], known["distance_limit"]) == (16, 4, None)
    assert (known["factor"], known["train_factor"], known["train_length"], known["lr"]) == (None, None, None, None)
    assert not known["trained"]
    assert known["ode_width"] is None


def test_values_that_the_file_of_a_method_computes_are_numbers(of):
    known = of("method=self_extend", "factor=4")
    assert known["window"] == 16  # a quarter of L
    assert isinstance(known["group_size"], int)


def test_columns_are_the_same_whatever_run_json_says(of):
    assert list(knobs(EMPTY)) == list(of("method=yarn", "factor=4"))
    assert list(knobs({})) == list(knobs(EMPTY))


def test_every_value_fits_into_a_column(of):
    for method in ("clex_self_extend", "longrope", "lm_infinite_top_k", "rerope"):
        known = of(f"method={method}", "factor=4")
        assert all(isinstance(value, str | int | float | bool | None) for value in known.values()), known


def test_a_function_that_is_no_more_leaves_its_value_empty():
    held = {"pattern": {"window": {"_target_": "lcx_lightning.patterns.no_such"}}}
    assert knobs(EMPTY | {"config": {"method": held}})["window"] is None
