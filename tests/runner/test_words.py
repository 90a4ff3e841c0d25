"""Words of the command line that say something else than they seem to are answered with what to type."""

import pytest
from hydra import compose, initialize_config_module
from support.in_process import exit_code
from support.lab import TINY, composed, folders

from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.refusals import wrong_word


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "'' is no value: write NAME=VALUE"),
        ("=5", "'=5' is no value"),
        ("method", "'method' is no value"),
        ("factor = 4", "'factor = 4' is no value"),
        ("hardware=2", "hardware is a group, which takes the name of a file"),
        ("+launch=[0]", "launch is a group"),
        ("method={a: 1}", "method is a group"),
        ("training=", "training is a group"),
        ("trainer=range(3)", "trainer is a group"),
        ("trainer=cpu,1", "trainer is a group"),
        ("method=[pi,[2]]", "method is a group"),
        ("data=interval(1,2)", "data is a group"),
    ],
)
def test_a_word_that_can_be_no_value_is_named(word, said):
    assert said in wrong_word([word])


@pytest.mark.parametrize(
    "word",
    [
        "method=pi",
        "method=[pi,lm_infinite]",
        "+exp=zoo",
        "method=pi,[ntk,lm_infinite]",
        "trainer=glob(*)",
        "~data.mixture.copy",
        "++x=1",
    ],
)
def test_words_that_can_be_values_pass(word):
    assert wrong_word([word]) == ""
    assert wrong_word(["--config-dir", "mine", word]) == ""


SAID = {
    "method=pi,ntk": ["To compare them: -m method=pi,ntk, or \"arms=['method=pi,ntk']\"", "'method=[pi,ntk]'"],
    "factor=2,4": ["factor=2,4 has several values. To run each: -m factor=2,4"],
    "seed=range(3)": ["seed=range(3) has several values"],
    "windo=3": ["There is no value 'windo'"],
    "factr=3": ["There is no value 'factr'. Did you mean factor"],
    "+factor=3": ["factor is a value that is there already: write factor=VALUE, without +"],
    "~factr": ["There is no factr that could be left out. Did you mean factor"],
    "arms=[method=pi]": ["quote each line and the whole, as in \"arms=['method=yarn factor=2,4']\""],
    "metod=pi": ["Did you mean method"],
    "method=pii": ["Did you mean method=pi"],
    "evaluation.growing_context.lst=3": [
        "Did you mean evaluation.growing_context.last",
        "has multiples, last, windows",
    ],
    "rope_scaling.factor=4": ["There is no value 'rope_scaling.factor'. Did you mean factor"],
    "evaluation.passkey.trials=3": ["the evaluation passkey is not chosen. Add evaluation=passkey, or a list"],
    "model.source.name=gpt2": [
        "is no value of this model, but of hub, llama_2_7b, llama_7b, smollm2, smollm2_bfloat16: choose one of these"
    ],
    "training=longlora": ["Did you mean training/lora=longlora?"],
    "method=YaRN": ["Did you mean method=yarn?"],
    "method=mine/slower.yaml": ["takes the name of a file, and no path", "--config-dir FOLDER method=NAME"],
    "method=null": ["method is a group, which takes the name of a file", "To have none, write method=pretrained."],
    "evaluation=null": ["evaluation is a group"],
    "training/lora=null": ["To have none, leave the word out."],
    "+e.p=recipes": ["The configuration has no 'e.p'"],
    "+method=pi": ["write method=pi, without +"],
    "~factor": ["left out by ~factor"],
    "seed=1,2": ["seed=1,2 has several values. To run each: -m seed=1,2."],
    "+exp=quickstart,zoo": ["To run each: -m +exp=quickstart,zoo."],
    "+exp=[quickstart,zoo]": ["one experiment at a time"],
    "arms=['+exp=zoo']": ["belongs to the whole experiment"],
    "arms=['method=pi, factor=4']": ["method=pi, cannot be read: it breaks off"],
    "evaluation.growing_context.multiples=[2,1,2]": ["has 256 tokens twice"],
    "model.recipe.schedule={warm: 3}": [
        "There is no value 'model.recipe.schedule.warm'. Did you mean model.recipe.schedule.warmup",
        "leaves the others of model.recipe.schedule as they are",
    ],
    "question=${nothing}": ["nothing"],
}


@pytest.mark.parametrize("word", SAID)
def test_what_hydra_refuses_is_a_sentence_without_a_plus_that_hides_the_typo(word, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert exit_code([word, *folders(tmp_path)], monkeypatch) == 2
    shown = capfd.readouterr()
    said = shown.out + shown.err
    assert all(part in said for part in SAID[word]), said
    assert "use +" not in said
    assert "HYDRA_FULL_ERROR" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            ["arms=['method=pi','method=ntk','method=yarn']", "method=yarn"],
            "method=yarn takes the place of method=ntk, method=pi, method=yarn in the lines of arms. "
            "1 of 3 arms is left.",
        ),
        (
            ["arms=['method=pi training=finetune training.steps=4','method=ntk']", "training=finetune"],
            "training=finetune takes the place of training.steps=4, training=finetune in the lines of arms.",
        ),
    ],
)
def test_what_the_command_line_replaces_in_the_arms_is_said(line, said):
    with initialize_config_module("experiments.configs", version_base="1.3"):
        words = [*TINY, *line]
        assert expand(compose("run", words), words).replaced == [said]


@pytest.mark.parametrize("line", ["method=[yarn,pi]", "arms=['method=[pi,yarn]']"])
def test_methods_that_cannot_be_composed_are_refused_before_the_values_of_what_they_would_be(line):
    with initialize_config_module("experiments.configs", version_base="1.3"):
        words = [*TINY, line]
        with pytest.raises(ValueError, match=r"must not set one part differently, but .* all set scaling"):
            expand(compose("run", words), words)


def test_an_experiment_without_a_name_is_called_by_its_model_and_corpus():
    names = {}
    books = ["data=hub", "data.corpus.load.path='books/*.txt'"]
    llama = ["model=hub", "model.source.name=meta-llama/Llama-2-7b-hf", "data=pg19"]
    for line in ([], llama, books, ["experiment=mine"]):
        config = composed(*line)
        with initialize_config_module("experiments.configs", version_base="1.3"):
            names[" ".join(line)] = expand(config, list(line)).cells[0].config.experiment
    assert list(names.values()) == ["embedded-sympy", "Llama-2-7b-hf-pg19", "embedded-books", "mine"]


def test_a_schedule_that_does_not_fit_is_found_by_a_dry_run(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["method=pi", "training=finetune", "training.steps=4", "training.schedule.warmup=8", "dry_run=fingerprint"]
    assert exit_code([*words, *folders(tmp_path)], monkeypatch) == 2
    shown = capfd.readouterr()
    assert "training.schedule: A schedule of 4 steps needs room for warmup=8 steps" in shown.out + shown.err


@pytest.mark.parametrize(
    ("line", "name"), [("+exp=recipes", "recipes"), ("+evaluation.growing_context.last=8", "embed")]
)
def test_values_of_an_evaluation_that_is_not_chosen_are_refused_with_what_sets_them(
    line, name, monkeypatch, capfd, tmp_path
):
    monkeypatch.chdir(tmp_path)
    words = [line, "evaluation=[needle,ruler]", "dry_run=fingerprint", *folders(tmp_path)]
    assert exit_code(words, monkeypatch) == 2
    said = "".join(capfd.readouterr())
    assert "the evaluation growing_context is not chosen. Add evaluation=[needle,ruler,growing_context]" in said
    assert f"in experiment {name}" in said
