"""What the README says is true: its generated parts are fresh, and its commands run."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from experiments.readme import README, methods_table, replace_block

TEXT = README.read_text()
RUNS = sorted(set(re.findall(r"`?python -m experiments\.run ([^`\n]*)`?", TEXT)))


@pytest.fixture(autouse=True)
def hydra():
    GlobalHydra.instance().clear()
    with initialize_config_module("experiments.configs", version_base="1.3"):
        yield


def test_the_methods_table_is_that_of_the_method_files():
    assert replace_block(TEXT, "methods", methods_table()) == TEXT


def test_the_two_commands_are_in_it():
    assert "pip install -e . && python -m experiments.run +exp=quickstart" in TEXT
    assert "pip install -e '.[test]' && pytest" in TEXT


@pytest.mark.parametrize("command", RUNS)
def test_every_run_command_composes(command):
    words = [word for word in shlex.split(command) if word not in ("...", "--help")]
    assert compose("run", words).experiment


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((docs/[^)]+)\)|`(sweeps/[^`]+\.yaml)`", TEXT))))
def test_every_file_it_names_exists(path):
    (name,) = filter(None, path)
    assert (README.parent / name).is_file()


def test_a_block_without_marks_is_refused():
    with pytest.raises(ValueError, match="<!-- nothing -->"):
        replace_block(TEXT, "nothing", "")


def test_the_results_table_has_the_arms_of_the_experiment():
    block = re.search(r"<!-- quickstart -->\n(.*?)<!-- /quickstart -->", TEXT, re.DOTALL)
    arms = compose("run", ["+exp=quickstart"]).arms
    names = {name for arm in arms for name in re.search(r"method=(\S+)", arm)[1].split(",")}
    assert block
    assert all(re.search(rf"^\| {name} ", block[1], re.MULTILINE) for name in names)
    assert Path(README.parent / "docs" / "quickstart.svg").stat().st_size > 0
