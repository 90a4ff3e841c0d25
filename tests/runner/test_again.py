"""The command of one arm composes that arm alone, with the id and the configuration that it had in its grid."""

import shlex

import pytest
from hydra import compose, initialize_config_module
from support.lab import EVALUATION, TINY, TRAINING, folders, save_checkpoint

from lcx_lightning.runner.command import METHODS
from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.run_json import described

LINES = [
    "method=pretrained",
    "method=lm_infinite window=16,32 sink_tokens=0,4",
    "method=[clex,lm_infinite] window=16 factor=4",
    "method=pi,yarn training=finetune training.optimizer.lr=1e-3,2e-3",
]
GRID = [f"arms=[{','.join(repr(line) for line in LINES)}]", *TINY, *TRAINING, "report.against=pretrained", "jobs=1"]
PARTS = ("model", "data", "method", "training", "evaluation", "in_loop", "trainer")


def arms_of(*line):
    """Return the arms of a command line; their data are not read."""
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run", [*line])
        return [built.arm for built in build(config, expand(config, [*line]))]


def again(arm):
    """Return the one arm that the command of an arm runs."""
    words = shlex.split(arm.command)
    assert words[:3] == ["python", "-m", "experiments.run"]
    own = [word.partition("=")[2] for word in words[3:] if word.startswith("--config-dir=")]
    (found,) = arms_of(*map(searched, own), *words[3 + len(own) :])
    return found


def searched(folder):
    """Return the override that `--config-dir` stands for."""
    return f"hydra.searchpath=[{METHODS},'file://{folder}']"


COMMANDS = {
    "a grid with training": [*GRID, "seed=3", "seeds=2", "experiment=mine"],
    "an experiment": ["+exp=length_failure", "seeds=2"],
    "one seed of an experiment of several": ["+exp=length_failure", "seeds=1"],
    "one arm in place of those of an experiment": ["+exp=compare_methods", "arms=[]", "seeds=1"],
    "a name that is no word": ["arms=['method=pi','method=yarn']", "experiment='PI, {YaRN} \\'(1)'"],
    "a name that is no text": ["arms=['method=pi','method=yarn']", "experiment='true'"],
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_the_command_of_an_arm_runs_that_arm_alone(line, tmp_path):
    grid = arms_of(*line, *folders(tmp_path))
    assert len({arm.run for arm in grid}) == len(grid) > 0
    for arm in grid:
        found = again(arm)
        assert (found.run, found.fingerprint, found.folder.parent) == (arm.run, arm.fingerprint, arm.folder.parent)
        assert [found.config[part] for part in PARTS] == [arm.config[part] for part in PARTS]


def test_arms_of_a_ready_model_that_are_not_trained_have_the_id_of_their_command(tmp_path):
    model = ["model=hub", f"model.source.name={save_checkpoint(tmp_path / 'model')}", "data.documents=masked"]
    lines = "arms=['method=pi training=finetune','method=lm_infinite window=8']"
    grid = arms_of(*model, lines, *TRAINING, *EVALUATION, "experiment=mine", *folders(tmp_path))
    assert [again(arm).run for arm in grid] == [arm.run for arm in grid]
    assert "data.documents" not in grid[1].command


@pytest.mark.parametrize("name", ["PI, {YaRN}", "'true'", "it''s"])
def test_an_experiment_of_ones_own_whose_report_is_against_another_arm_runs_again(tmp_path, name):
    (tmp_path / "mine" / "exp").mkdir(parents=True)
    text = f"# @package _global_\nexperiment: {name}\narms: ['method=pi,yarn']\nreport: {{against: pi}}\nseeds: 2\n"
    (tmp_path / "mine" / "exp" / "two.yaml").write_text(text)
    grid = arms_of(searched(tmp_path / "mine"), "+exp=two", *TINY, *folders(tmp_path))
    found = [again(arm) for arm in grid]
    assert [(arm.run, arm.folder.parent) for arm in found] == [(arm.run, arm.folder.parent) for arm in grid]
    assert grid[0].folder.parent.name in ("PI, {YaRN}", "true", "it''s")
    assert all("report.against=null" in arm.command for arm in grid)


def test_words_that_other_arms_alone_need_are_left_out(tmp_path):
    pretrained = arms_of(*GRID, "experiment=mine", *folders(tmp_path))[0]
    assert not any(word.startswith("training") for word in shlex.split(pretrained.command))
    assert "experiment=mine" in shlex.split(pretrained.command)


def test_secrets_are_masked_in_it(tmp_path):
    corpus = ["data=hub", "data.corpus.load.path=json", "+data.corpus.load.token=hf_secret"]
    (arm,) = arms_of("method=pi", *TINY, *corpus, *folders(tmp_path))
    assert "hf_secret" not in arm.command
    assert described(arm)["command"] == arm.command
