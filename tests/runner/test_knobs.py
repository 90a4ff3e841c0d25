"""Knobs: one top-level value turns the same of any method; an arm that ignores it is one cell; lengths in tokens."""

import pytest
from hydra import compose, initialize_config_module
from support.lab import EVALUATION, TINY, arms_of, built_arms_of, folders

from lcx_lightning.runner.expand import expand

TURNED = [  # a knob, a method that has it, the part that it sets, and how
    ("window=20", "lm_infinite", "pattern", {"window": 20}),
    ("window=20", "streaming_llm", "pattern", {"window": 20}),
    ("window=20", "self_extend", "pattern", {"window": 20}),
    ("window=20", "leaky_rerope", "pattern", {"window": 20}),
    ("sink_tokens=3", "lm_infinite", "pattern", {"sink_tokens": 3}),
    ("sink_tokens=3", "streaming_llm", "pattern", {"sink_tokens": 3, "window": 61}),  # the rest of L
    ("distance_limit=20", "lm_infinite", "pattern", {"distance_limit": 20}),
    ("distance_limit=null", "lm_infinite", "pattern", {"distance_limit": None}),
    ("distance_limit=20", "limit_only", "pattern", {"distance_limit": 20}),
    ("distance_limit=20", "rerope", "pattern", {"distance_limit": 20}),
    ("max_factor=8", "clex", "positions", {"max_factor": 8}),
    ("max_factor=8", "clex_frozen", "positions", {"max_factor": 8}),
    ("max_factor=8", "clex_discrete", "positions", {"max_factor": 8}),
    ("solver_steps=3", "clex", "scaling", {"steps": 3}),
    ("solver_steps=3", "clex_blocks", "scaling", {"steps": 3}),
]
TINY_BASE = [word for word in TINY if word not in EVALUATION]


@pytest.mark.parametrize(("word", "method", "part", "wanted"), TURNED)
def test_a_knob_sets_what_a_method_calls_so(word, method, part, wanted, tmp_path):
    (turned,) = built_arms_of(f"method={method}", *TINY, word, *folders(tmp_path))
    (usual,) = built_arms_of(f"method={method}", *TINY, *folders(tmp_path))
    made, as_the_file_says = (getattr(one.method(), part) for one in (turned, usual))
    assert {name: getattr(made, name) for name in wanted} == wanted
    assert any(getattr(as_the_file_says, name) != value for name, value in wanted.items())
    assert turned.arm.run != usual.arm.run


def test_the_width_of_the_ode_is_a_knob(tmp_path):
    (built,) = built_arms_of("method=clex", *TINY, "width=2", *folders(tmp_path))
    assert built.method().scaling.up.weight.shape[0] == 2 * built.model.spec.dim


def test_an_arm_that_ignores_a_knob_is_one_cell():
    line = "arms=['method=pretrained,yarn,lm_infinite factor=2,4 window=16,32']"
    assert cells(line) == [
        "pretrained", "yarn factor=2", "yarn factor=4", "lm_infinite window=16", "lm_infinite window=32",
    ]  # fmt: skip
    trained = "arms=['method=lm_infinite,clex factor=2,4 training=finetune train_factor=2']"
    assert cells(trained) == ["lm_infinite", "clex factor=2", "clex factor=4"]


def test_a_window_turns_every_arm_of_a_grid_that_has_one(tmp_path):
    """Which method.pattern.window does not: an arm without it would be refused."""
    built = built_arms_of("+exp=ablate_lambda", *TINY, "window=20", *folders(tmp_path))
    windows = {one.arm.name: getattr(one.method().pattern, "window", None) for one in built}
    assert windows["pretrained"] is None
    assert windows["limit_only"] is None
    assert {windows[name] for name in ("window_only", "lambda_only", "lm_infinite")} == {20}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("window=0", "window must be a whole number of at least 1 or null, got 0"),
        ("window=null", r"method\.pattern\.window must be a whole number of at least 1, got null"),
        ("sink_tokens=-1", "sink_tokens must be a whole number of at least 0"),
        ("width=wide", "width must be a number above 0"),
        ("solver_steps=2.5", "solver_steps must be a whole number"),
        ("lengths=[]", "lengths must be a list, not empty"),
        ("lengths=[0]", "lengths must be a list, not empty, of whole numbers of at least 1"),
    ],
)
def test_a_value_that_no_method_could_have_is_refused_under_the_name_of_the_knob(word, said):
    with pytest.raises(ValueError, match=said):
        cells("method=lm_infinite", word)


def test_lengths_in_tokens_are_multiples_of_the_pretraining_length(tmp_path):
    """Of all evaluations at once, and the same run however they are written."""
    asked = ["evaluation=[growing_context,passkey]", *TINY[:-1], *folders(tmp_path)]
    (tokens,) = arms_of(*asked, "lengths=[128,96,64]")
    multiples = [f"evaluation.{name}.multiples=[1,1.5,2]" for name in ("growing_context", "passkey")]
    (units,) = arms_of(*asked, *multiples)
    assert tokens.lengths == units.lengths == [64, 96, 128]
    assert tokens.run == units.run


def test_lengths_are_refused_where_no_evaluation_has_any(tmp_path):
    with pytest.raises(ValueError, match=r"lengths=\[64\] would change nothing: no context length of short_context"):
        arms_of("evaluation=short_context", *TINY_BASE, "lengths=[64]", *folders(tmp_path))


def test_lengths_beyond_the_reach_of_a_method_or_of_the_documents_are_named(tmp_path):
    (arm,) = arms_of("method=self_extend", *TINY, "lengths=[64,128,4096]", *folders(tmp_path))
    assert (arm.lengths, arm.not_evaluated) == ([64, 128], {"4096": f"beyond its reach, {arm.max_context} tokens"})
    with pytest.raises(ValueError, match=r"10,000,000 tokens"):
        arms_of(*TINY, "lengths=[10000000]", *folders(tmp_path))


def cells(*line):
    with initialize_config_module("experiments.configs", version_base="1.3"):
        return [cell.name for cell in expand(compose("run", [*line]), [*line]).cells]
