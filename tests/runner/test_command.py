"""The words of a command line: options may stand anywhere, and classes of --config-dir are found by name."""

import sys

import pytest

from lcx_lightning.runner.command import find_own_classes, options_last


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


@pytest.mark.parametrize("line", ["--config-dir {}", "method=pi --config-dir={}", "-cd {} factor=2"])
def test_a_module_in_the_folder_of_own_files_is_found_from_any_folder(tmp_path, monkeypatch, line):
    (tmp_path / "own_files").mkdir()
    (tmp_path / "own_files" / "slower.py").write_text("FOUND = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir("/")
    find_own_classes(line.format(tmp_path / "own_files").split())
    try:
        from own_files import slower  # pyright: ignore[reportMissingImports]

        assert slower.FOUND
    finally:
        for name in ("own_files", "own_files.slower"):
            sys.modules.pop(name, None)
