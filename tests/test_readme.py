"""What the README says is true: its generated parts are fresh, and its commands run."""

import re
import shlex
from pathlib import Path

import pytest
from lab import EVALUATION, TINY, TRAINING, composed, folders, launch, save_checkpoint, save_documents

from experiments.readme import README, methods_table, replace_block

TEXT = README.read_text()
RUNS = sorted(set(re.findall(r"python -m experiments\.run ([^`\n]*)", TEXT)) - {"--help"})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def local(words, place):
    """Return the overrides of a command on the hub's files with files of this machine in their place."""
    checkpoint, data = save_checkpoint(place / "checkpoint"), save_documents(place / "data")
    instead = {"model.source.name": [f"model.source.name={checkpoint}"], "data": data, "trainer": []}
    keys = [word.partition("=")[0] for word in words]
    kept = [instead.get(key, [word]) for key, word in zip(keys, words, strict=True) if "data.corpus" not in key]
    return [*(word for given in kept for word in given), *EVALUATION]


def test_the_methods_table_is_that_of_the_method_files():
    assert replace_block(TEXT, "methods", methods_table()) == TEXT


def test_the_two_commands_are_in_it():
    assert "pip install -e . && python -m experiments.run +exp=quickstart" in TEXT
    assert "pip install -e '.[test]' && pytest" in TEXT


@pytest.mark.parametrize("command", RUNS)
def test_every_run_command_ends_well_at_tiny_sizes(command, place):
    words = [word.replace("seeds=3", "seeds=2") for word in shlex.split(command) if word != "..."]
    words = local(words, place) if "model=hub" in words else [*words, *TINY]
    trains = [*TRAINING] if {"+exp=quickstart", "training=finetune"} & set(words) else []
    done = launch(*words, *trains, *folders(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "index.html" in done.stdout


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((docs/[^)]+)\)|`(sweeps/[^`]+\.yaml)`", TEXT))))
def test_every_file_it_names_exists(path):
    (name,) = filter(None, path)
    assert (README.parent / name).is_file()


def test_a_block_without_marks_is_refused():
    with pytest.raises(ValueError, match="<!-- nothing -->"):
        replace_block(TEXT, "nothing", "")


def test_the_results_table_has_the_arms_of_the_experiment():
    block = re.search(r"<!-- quickstart -->\n(.*?)<!-- /quickstart -->", TEXT, re.DOTALL)
    arms = composed("+exp=quickstart").arms
    names = {name for arm in arms for name in re.search(r"method=(\S+)", arm)[1].split(",")}
    assert block
    assert names <= set(re.findall(r"^\| (\w+) ", block[1].replace("\\", ""), re.MULTILINE))
    assert Path(README.parent / "docs" / "quickstart.svg").stat().st_size > 0
