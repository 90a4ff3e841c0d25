"""What is refused of a sweep, or said, before its first cell: each in a sentence."""

import re

import pytest
from support.lab import TINY, TRAINING, arms_of, folders
from support.sweeps import write_sweep

from lcx_lightning.runner.refusals import wrong_word
from lcx_lightning.runner.sweep import checks
from lcx_lightning.runner.sweep.cells import check_count, turned
from lcx_lightning.runner.sweep.command import main
from lcx_lightning.runner.sweep.files import find_sweep, read_sweep

WINDOWS = {"method": {"value": "lm_infinite"}, "window": {"values": [16, 32]}}
SENTENCES = [
    ({"parameters": {"window": {"values": [16, None]}}}, 'window has the value null, .* Write "null", in quotes'),
    ({"parameters": {"window": {"values": 16}}}, "the values of window must be a list, got 16"),
    ({"parameters": {"window": {}}}, r"window needs a value, a list of values, or min and max, got \{\}"),
    ({"parameters": {}}, "parameters must be a mapping from keys to values"),
    ({"method": "grids"}, "method must be grid, random, bayes, got 'grids'"),
    ({"metrics": "x"}, "a file of a sweep has no 'metrics'. Did you mean metric"),
    ({"metric": "perplexity/last_k/4L"}, "metric must be a mapping, such as name: perplexity/last_k/4L"),
    ({"metric": {"name": 4}}, "metric.name must be a text, got 4"),
    ({"metric": {"name": "train/loss", "goal": "max"}}, "metric.goal must be minimize or maximize, got 'max'"),
    ({"metric": {"name": "train/loss", "goal": "Maximize"}}, "got 'Maximize'.* Did you mean maximize"),
    ({"metric": {"name": "train/loss", "target": 2}}, "metric has no 'target'"),
    ({"metric": {"goal": "minimize"}}, "A value is needed: metric.name"),
    ({"run_cap": "many"}, "run_cap must be a whole number of at least 1, got 'many'"),
    ({"run_cap": 0}, "run_cap must be a whole number of at least 1, got 0"),
    ({"run_cap": 2.5}, "run_cap must be a whole number of at least 1, got 2.5"),
    ({"early_terminate": {"type": "median"}}, "early_terminate.type must be hyperband, got 'median'"),
    ({"early_terminate": {"type": "hyperband"}}, "needs min_iter or max_iter, one of them, got None and None"),
    (
        {"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1}},
        "early_terminate.eta must be .* at least 2, got 1",
    ),
    ({"early_terminate": {"type": "hyperband", "max_iters": 2}}, "has no 'max_iters'. Did you mean .*max_iter"),
    ({"parameters": {"window": {"values": [1, 2], "probabilities": [0.9, 0.1]}}}, "probabilities: .* changes nothing"),
    ({"parameters": {"window": {"value": 1, "min": 0}}}, "window has min: 0 beside value, which changes nothing"),
    ({"command": "python -m experiments.run"}, "command must be a list of words"),
    ({"parameters": {4: {"value": 1}}}, "the key of a parameter is a text, got 4"),
    ({"program": "train.py"}, "program must be experiments.run, got 'train.py'"),
]


def said_by(capsys, *words):
    """Return the exit code of a command in this process, and what it printed."""
    code = main(list(map(str, words)))
    return code, re.sub(r"\s+", " ", capsys.readouterr().out)


@pytest.mark.parametrize(("changed", "sentence"), SENTENCES)
def test_a_file_that_is_none_of_a_sweep_is_refused(tmp_path, changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_sweep(write_sweep(tmp_path, **{"parameters": WINDOWS} | changed))


def test_words_of_a_command_are_those_of_all_cells_but_for_what_is_for_the_server(tmp_path):
    words = ["${env}", "python", "-m", "experiments.run", "logger=wandb", "~data.mixture.copy", "+factor=2", "--x=1"]
    assert read_sweep(write_sweep(tmp_path, WINDOWS, command=words)).words == [
        "~data.mixture.copy",
        "+factor=2",
        "method=lm_infinite",
    ]
    said = {"distribution": "categorical", "values": [1, 2]}, {"distribution": "constant", "value": 1}
    both = read_sweep(write_sweep(tmp_path, dict(zip(("window", "factor"), said, strict=True))))
    assert (both.values, both.words) == ({"window": [1, 2]}, ["factor=1"])


def test_a_sweep_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no sweep windo: .* Did you mean window.* There are: .*papers"):
        find_sweep("windo")


def test_an_empty_grid_and_one_of_many_cells_are_refused(tmp_path):
    empty = read_sweep(write_sweep(tmp_path, WINDOWS | {"seed": {"values": []}}))
    with pytest.raises(ValueError, match="seed has no values, so that the grid is empty"):
        check_count(empty, empty.values, confirmed=True)
    many = read_sweep(write_sweep(tmp_path, WINDOWS | {"seed": {"values": [*range(6000)]}}))
    with pytest.raises(ValueError, match=r"has 12,000 cells, more than 10,000. .* --yes"):
        check_count(many, many.values, confirmed=False)
    check_count(many, many.values, confirmed=True)
    check_count(many, turned(many.values, ["seed=0"]), confirmed=False)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (
            WINDOWS | {"windw": {"values": [1]}},
            "cell window=16 windw=1: There is no value 'windw'. Did you mean window",
        ),
        (WINDOWS | {"jobs": {"values": [1, 2]}}, "jobs belongs to the whole sweep: give it one value"),
        (WINDOWS | {"seed": {"values": [-1]}}, "seed must be an integer of at least 0, got -1"),
        (WINDOWS | {"window": {"values": ["wide"]}}, "cell window=wide: window must be a whole number"),
        (WINDOWS | {"method": {"values": ["pi", "nope"]}}, "there is no method 'nope'"),
    ],
)
def test_a_cell_that_cannot_be_composed_is_refused_by_name(tmp_path, capsys, parameters, sentence):
    code, said = said_by(capsys, write_sweep(tmp_path, parameters), "--dry-run", *TINY, *folders(tmp_path))
    assert code == 2
    assert re.search(sentence, said)
    assert not (tmp_path / "results").exists()


RATE = {"training.optimizer.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}}


@pytest.mark.parametrize(
    ("parameters", "more", "sentence"),
    [
        (WINDOWS, {"method": "grid", "run_cap": 3}, "run_cap is for method random or bayes"),
        (RATE, {"method": "grid"}, "training.optimizer.lr is drawn, and a grid draws nothing"),
        (RATE, {}, "a search needs run_cap, or --count"),
        (RATE, {"run_cap": 3, "metric": {}}, "a search needs a metric"),
        ({"method": {"value": "pi"}}, {"run_cap": 3}, "there is nothing to draw"),
        ({"x": {"distribution": "normal", "mu": 0}}, {"run_cap": 3}, "x is drawn by 'normal', which needs the server"),
        ({"x": {"min": 2, "max": 1}}, {"run_cap": 3}, "x needs two whole numbers, min and max, got 2 and 1"),
        ({"x": RATE["training.optimizer.lr"] | {"min": 0}}, {"run_cap": 3}, "x needs two numbers above 0"),
        ({"x": {"distribution": "int_uniform", "min": 0.5, "max": 2}}, {"run_cap": 3}, "x needs two whole numbers"),
        ({"x": {"min": True, "max": 2}}, {"run_cap": 3}, "min and max, got True and 2"),
        ({"x": {"min": 0, "max": 1, "value_typo": 3}}, {"run_cap": 3}, "x has no 'value_typo'"),
        ({"x": {"min": 0, "max": 1, "q": 3}}, {"run_cap": 3}, "x has no 'q'"),
        ({"x": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}}, {"run_cap": 3}, "a number above 0, got 0"),
        ({"x": {"values": [[1, 2], [3]]}}, {"run_cap": 3}, "x has the value [1, 2], and single values alone are drawn"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path, capsys, parameters, more, sentence):
    asked = {"method": "random", "metric": {"name": "in_loop/last_k/nll/128", "goal": "minimize"}} | more
    code, said = said_by(capsys, write_sweep(tmp_path, parameters, **asked), "--dry-run")
    assert code == 2
    assert sentence in said


def test_runs_are_ended_early_by_what_is_logged_while_they_go_on(tmp_path, capsys):
    path = write_sweep(tmp_path, WINDOWS, early_terminate={"type": "hyperband", "min_iter": 2})
    code, said = said_by(capsys, path)
    assert code == 2
    assert "early_terminate needs a metric that is logged during a run, and perplexity/last_k/2L is logged at" in said


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """The untouched model, a method that reaches 2L, one that does nothing, and one that is trained."""
    lines = [
        "method=pretrained",
        "method=clex factor=2",
        "method=ntk factor=1",
        "method=pi training=finetune",
    ]
    lines = ",".join(f"'{line}'" for line in lines)
    sizes = [*TINY, "evaluation.growing_context.multiples=[1,2,4]", *TRAINING]
    return arms_of(f"arms=[{lines}]", *sizes, *folders(tmp_path_factory.mktemp("arms")))


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("perplexity/last_k/4L", "1 of 4 cells do not log .*: b: 256 tokens: beyond its reach, 128 tokens."),
        ("perplexity/last_k/2L", None),
        ("ratio/last_k/2L", None),
        ("holds_to/last_k", None),
        ("perplexity/last_k/128", None),
        ("perplexity/last_k/2L/high", None),
        ("throughput/mfu", "3 of 4 cells do not log throughput/mfu: a: it is not trained"),
        ("train/loss", "3 of 4 cells do not log train/loss: a: it is not trained"),
    ],
)
def test_a_metric_beyond_the_reach_of_a_cell_is_said(tmp_path, arms, metric, sentence):
    sweep = read_sweep(write_sweep(tmp_path, WINDOWS, metric={"name": metric, "goal": "minimize"}))
    said = checks.check_metric(sweep, arms, [*"abcd"])
    assert [bool(re.search(sentence or "", one)) for one in said] == ([True] if sentence else [])


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("perplexity/last_k/3L", "is not logged by a: 192 tokens: it is not evaluated at this length; .* and 1 more"),
        ("perplexity/lastk/2L", "a: there is no such name. Did you mean perplexity/last_k/2L"),
        ("perplexity/last_k/2l", "Did you mean perplexity/last_k/2L"),
        ("perplexity/last_k/2L/hgih", "Did you mean perplexity/last_k/2L/high"),
        ("nll/last_k/2L", "Did you mean perplexity/last_k/2L"),
        ("perplexity/last_k", "there is no such name"),
        ("perplexity", "there is no such name. It logs perplexity/last_k/64, .* more"),
        ("holds_to/lastk", "Did you mean holds_to/last_k"),
        ("train/los", "a: there is no such name. Did you mean train/loss"),
        ("accuracy/passkey/2L/depth_0.33", "there is no such name"),
        ("in_loop/last_k/nll/128", "nothing is evaluated during its training. Add in_loop.every=STEPS"),
    ],
)
def test_a_metric_that_no_cell_logs_is_refused(tmp_path, arms, metric, sentence):
    sweep = read_sweep(write_sweep(tmp_path, WINDOWS, metric={"name": metric, "goal": "minimize"}))
    with pytest.raises(ValueError, match=sentence):
        checks.check_metric(sweep, arms, [*"abcd"])


def test_what_is_done_twice_or_does_nothing_is_said(tmp_path, arms):
    assert checks.doubles([arms[0], arms[1], arms[0]], [*"abc"]) == [
        "2 cells are one run, which is computed once: a; c."
    ]
    assert checks.equal_to_pretrained(arms, [*"abcd"]) == ["1 of 4 cells equal pretrained and are left out: c."]
    sweep = read_sweep(write_sweep(tmp_path, WINDOWS))
    (said,) = checks.idle_training(sweep, ["training.steps=4"], arms, [*"abcd"])
    assert said == "training.steps changes nothing in 3 cells that are not trained: a; b; c."
    assert checks.idle_training(sweep, ["factor=4"], arms, [*"abcd"]) == []


def test_none_is_refused_in_the_cell_of_an_agent():
    assert 'Write distance_limit=null for none; in the file of a sweep "null"' in wrong_word(["distance_limit=None"])
    assert wrong_word(["distance_limit=null"]) == ""


def test_values_of_the_command_line_take_the_place_of_those_of_the_file(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path, WINDOWS | {"seed": {"values": [3, 5]}}))
    assert turned(sweep.values, ["window=8", "factor=2"]) == {"seed": [3, 5]}
