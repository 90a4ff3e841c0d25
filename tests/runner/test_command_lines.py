"""No command line ends in a traceback or hangs, and what is refused is named: two thousand mistyped ones."""

import os
import signal
import sys
import traceback
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from support.command_lines import LINES, Typist, is_named, words_of
from support.lab import ROOT, folders

from lcx_lightning.methods.library import methods
from lcx_lightning.runner import command
from lcx_lightning.runner.refusals import keys_of
from lcx_lightning.training import preemption

CASES, GROUPS = 2_000, 8
SECONDS = 120  # within which a command has answered, on a machine that is busy


def _choices():
    folder = ROOT / "experiments" / "configs"
    groups = {path.name: [file.stem for file in path.glob("*.yaml")] for path in folder.iterdir() if path.is_dir()}
    found = {
        name: sorted(options) for name, options in groups.items() if options and name not in ("exp", "__pycache__")
    }
    for slow in ("smollm2", "smollm2_bfloat16"):  # which are read from a package for half a minute
        found["model"].remove(slow)
    return found | {"method": methods(), "+exp": ["ablate_lambda", "recipes"]}


@pytest.fixture(scope="module")
def keys():
    """The names of all values, by command line."""
    found = {}
    with initialize_config_module("experiments.configs", version_base="1.3"):
        for line in LINES:
            chosen = ("method=", "evaluation=", "data=", "training")
            words = [word for word in line.split(" ") if word.startswith(chosen) and "arms=" not in line]
            found[line] = keys_of(compose("run", words))
    return found


def answer(words, file):
    """Return the exit code of a command line, run in a fork of this process, and what it printed."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            signal.alarm(SECONDS)
            target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, 1)
            os.dup2(target, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            sys.argv = ["lcx", *words]
            preemption.listen = lambda: None
            code = command.run()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:  # a traceback is what this is about
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status), Path(file).read_text(errors="replace")


@pytest.mark.slow
def test_the_lines_that_are_mistyped_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books.jsonl").write_text('{"text": "once upon a time"}\n')
    for line in LINES:
        words = [*words_of(line), *folders(tmp_path)]
        words += [] if "dry_run=" in line else ["dry_run=fingerprint"]
        code, said = answer(words, tmp_path / "said")
        assert code == 0, f"{line}\n{said}"


@pytest.mark.slow
@pytest.mark.parametrize("group", [pytest.param(n, marks=pytest.mark.xdist_group(f"lines {n}")) for n in range(GROUPS)])
def test_mistyped_command_lines_are_answered_in_sentences_that_name_what_is_wrong(group, keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books.jsonl").write_text('{"text": "once upon a time"}\n')
    typist, wrong = Typist(keys, _choices(), seed=group), []
    for _ in range(CASES // GROUPS):
        words, changed = typist.line()
        line = [*words, *folders(tmp_path)]
        line += [] if any(word.startswith("dry_run=") for word in words) else ["dry_run=fingerprint"]
        code, said = answer(line, tmp_path / "said")
        if code not in (0, 2) or "Traceback" in said or (code == 2 and not is_named(changed, said)):
            wrong.append((code, changed, words, said[-1500:]))
    assert not wrong, "\n\n".join(map(str, wrong))
