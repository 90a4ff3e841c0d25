"""The words of a command line: options may stand anywhere."""

import pytest

from lcx_lightning.runner.command import options_last, own_folder


@pytest.mark.parametrize(
    ("line", "sorted_line"),
    [
        ("method=pi -m factor=2,4", "method=pi factor=2,4 -m"),
        ("--config-dir mine +exp=mine factor=4", "+exp=mine factor=4 --config-dir mine"),
        ("factor=4 --config-dir=mine +exp=mine", "factor=4 +exp=mine --config-dir=mine"),
        ("factor=4 -cd mine +exp=mine -m", "factor=4 +exp=mine -cd mine -m"),
        ("factor=4 --info method=pi", "factor=4 method=pi --info"),
        ("--info defaults method=pi", "method=pi --info defaults"),
        ("--cfg job method=pi ~data", "method=pi ~data --cfg job"),
        ("method=pi factor=2", "method=pi factor=2"),
        ("", ""),
    ],
)
def test_options_may_stand_between_values(line, sorted_line):
    assert options_last(line.split()) == sorted_line.split()


@pytest.mark.parametrize("line", ["--config-dir mine", "method=pi --config-dir=mine", "-cd mine factor=2"])
def test_the_folder_of_own_files_is_found(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    assert own_folder(line.split()) == tmp_path / "mine"
    assert own_folder(["method=pi"]) is None
