"""Files of --config-dir: which of them a command line uses, and that a damaged one is refused before Hydra reads it."""

import pytest

from lcx_lightning.runner.own_files import check_own_files, used_files

MINE = "pattern: {_target_: lcx_lightning.patterns.Causal}\n"


@pytest.fixture
def folder(tmp_path):
    """An experiment that names a method, which stands on another; and a broken file that nothing names."""
    files = {
        "exp/mine.yaml": "# @package _global_\ndefaults:\n  - override /method: own\n",
        "method/own.yaml": f"defaults: [inner]\n{MINE}",
        "method/inner.yaml": MINE,
        "method/broken.yaml": "pattern: [\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("option", [["--config-dir={}"], ["--config-dir", "{}"], ["-cd", "{}"]])
def test_files_that_a_used_file_names_are_used(folder, option):
    words = [word.format(folder) for word in option]
    assert [path.name for path in used_files([*words, "+exp=mine"])] == ["mine.yaml", "own.yaml", "inner.yaml"]
    assert [path.name for path in used_files([*words, "method=[pi,inner]"])] == ["inner.yaml"]
    assert used_files([*words, "factor=4"]) == used_files(["-c", "anything", "+exp=mine"]) == []


def test_a_damaged_file_is_refused_where_it_is_used(folder):
    check_own_files([f"--config-dir={folder}", "+exp=mine"])
    with pytest.raises(ValueError, match=rf"{folder}/method/broken\.yaml: no YAML in line 2"):
        check_own_files([f"--config-dir={folder}", "method=broken"])
