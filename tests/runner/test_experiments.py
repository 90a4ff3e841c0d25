"""The list of experiments: every one has its question and its time, and the command that asks for it gets it."""

import re

import pytest
from support.lab import composed

from lcx_lightning.runner import command
from lcx_lightning.runner.experiments import experiments, main

NAMES = [one.name for one in experiments()]


@pytest.mark.parametrize("one", experiments(), ids=NAMES)
def test_every_experiment_says_what_it_asks_and_how_long_it_takes(one):
    config = composed(f"+exp={one.name}")
    assert (config.question, config.takes) == (one.question, one.takes)
    assert one.question.endswith("?")
    assert re.search(r"\b(minutes?|hours?|days?|week)\b", one.takes)


def test_those_of_a_folder_of_ones_own_are_among_them(tmp_path):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "mine.yaml").write_text("# @package _global_\nquestion: Why?\n")
    found = {one.name: one for one in experiments(tmp_path)}
    assert found.keys() == {*NAMES, "mine"}
    assert (found["mine"].question, found["mine"].takes) == ("Why?", "")


@pytest.mark.parametrize("words", [["exp=?"], ["+exp=?", "factor=4"]])
def test_the_command_lists_them(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lcx run", *words])
    monkeypatch.setenv("COLUMNS", "200")
    assert command.run() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(name in said for name in NAMES)
    assert "Which part of LM-Infinite keeps perplexity flat?" in said


def test_lcx_experiments_lists_them_and_takes_no_words(capsys):
    assert main([]) == 0
    assert "ablate_lambda" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["quickstart"])
