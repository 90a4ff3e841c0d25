"""The console script `lcx`: each command is the program of its module, with its own arguments."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest
from support.lab import ROOT, environment

from experiments import cli


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["lcx", *words])
    return cli.main()


@pytest.mark.parametrize("words", [(), ("--help",), ("help",)])
def test_without_a_command_it_says_what_there_is(monkeypatch, capsys, words):
    assert call(monkeypatch, *words) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)


def test_an_unknown_command_is_refused_by_name(monkeypatch, capsys):
    assert call(monkeypatch, "evaluate") == 2
    assert "There is no command 'evaluate'.\nusage: lcx COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_gets_the_other_words_as_its_own(monkeypatch, name):
    module, function = cli.COMMANDS[name][0].split(":")
    seen = []
    monkeypatch.setattr(import_module(module), function, lambda: seen.extend(sys.argv) or 7)
    assert call(monkeypatch, name, "+exp=quickstart", "--help") == 7
    assert seen == ["lcx", "+exp=quickstart", "--help"]


def test_the_script_is_installed_by_the_package():
    module, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["lcx"].split(":")
    assert getattr(import_module(module), function) is cli.main


def test_lcx_run_shows_the_help_of_experiments_run(tmp_path):
    started = "import sys; from experiments.cli import main; sys.argv[0] = 'lcx'; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", started, "run", "--help"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "lm_infinite" in done.stdout


LINES = [
    "run --help",
    "run --cfg job",
    "run method=nope",
    "report --help",
    "bench --help",
    "list",
    "clean --help",
    "--help",
]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["{} | true", "{} 2>&1 | true", "{} >&-", "{} >&- 2>&-"])
@pytest.mark.parametrize("line", LINES)
def test_a_reader_that_has_left_sees_no_traceback(line, form, tmp_path):
    """The reader is gone before anything is printed: what Python cannot write at its end it tells on stderr."""
    name, _, words = line.partition(" ")
    code = "import sys; from experiments.cli import main; sys.argv[0] = 'lcx'; sys.exit(main())"
    forms = [f'{sys.executable} -c "{code}" {line}']
    forms += [] if name == "--help" else [f"{sys.executable} -m experiments.{name} {words}"]
    for one in forms:
        asked = form.format(one)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", asked],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
        )
        assert done.returncode == (2 if "nope" in line else 0), done.stderr
        assert not re.search("Traceback|BrokenPipe|Exception ignored", done.stderr), done.stderr
