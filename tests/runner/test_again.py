"""The command of one arm composes that arm alone, with the id and the configuration that it had in its grid."""

import shlex

import pytest
from hydra import compose, initialize_config_module
from support.lab import TINY, TRAINING, folders

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
    (found,) = arms_of(*words[3:])
    return found


@pytest.mark.parametrize(
    "line",
    [[*GRID, "seed=3", "seeds=2", "experiment=mine"], ["+exp=length_failure", "seeds=2"]],
    ids=["a grid with training", "an experiment"],
)
def test_the_command_of_an_arm_runs_that_arm_alone(line, tmp_path):
    grid = arms_of(*line, *folders(tmp_path))
    assert len({arm.run for arm in grid}) == len(grid) > 3
    for arm in grid[::3]:
        found = again(arm)
        assert (found.run, found.fingerprint, found.folder.parent) == (arm.run, arm.fingerprint, arm.folder.parent)
        assert [found.config[part] for part in PARTS] == [arm.config[part] for part in PARTS]


def test_words_that_other_arms_alone_need_are_left_out(tmp_path):
    pretrained = arms_of(*GRID, "experiment=mine", *folders(tmp_path))[0]
    assert not any(word.startswith("training") for word in shlex.split(pretrained.command))
    assert "experiment=mine" in shlex.split(pretrained.command)


def test_secrets_are_masked_in_it(tmp_path):
    corpus = ["data=hub", "data.corpus.load.path=json", "+data.corpus.load.token=hf_secret"]
    (arm,) = arms_of("method=pi", *TINY, *corpus, *folders(tmp_path))
    assert "hf_secret" not in arm.command
    assert described(arm)["command"] == arm.command
