"""Every block of the pages on comparing and on files of one's own is tried; one of another kind is refused."""

import os
import shlex
import sqlite3
import subprocess
import sys
import textwrap

import pytest
import torch
from support.in_process import exit_code
from support.lab import ROOT, environment, folders, save_checkpoint
from support.pages import answers_of, blocks_of, runs_of
from support.pairs import a_few

PAGES = {name: blocks_of((ROOT / "docs" / f"{name}.md").read_text()) for name in ("comparing", "own")}
RUNS = [words for blocks in PAGES.values() for block in blocks for words in runs_of(block)]
ANSWERS = [answer for blocks in PAGES.values() for block in blocks for answer in answers_of(block)]
PRELUDE = """
set -e
lcx() {{ command=$1; shift; {python} -c "
import sys
from experiments.cli import main
from support.pairs import a_few
from support.pages import at_tiny_sizes
sys.argv = ['lcx', '$command', *(at_tiny_sizes(sys.argv[1:]) if '$command' == 'run' else sys.argv[1:])]
sys.exit(main())" "$@"; }}
"""


@pytest.fixture
def mine(tmp_path):
    """A folder with the files of the page on one's own, and with what they read: essays, notes and a model."""
    for block in PAGES["own"]:
        if block.kind == "file":
            (tmp_path / block.name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.name).write_text(block.text)
    texts = {f"text {n}": " ".join(str((7 * n + 3 * i * i) % 60) for i in range(400)) for n in range(20)}
    (tmp_path / "essays").mkdir()
    for title, text in texts.items():
        (tmp_path / "essays" / f"{title}.txt").write_text(text)
    notes = sqlite3.connect(tmp_path / "notes.db")
    notes.execute("CREATE TABLE notes (title TEXT, text TEXT)")
    notes.executemany("INSERT INTO notes VALUES (?, ?)", texts.items())
    notes.commit()
    notes.close()
    save_checkpoint(tmp_path / "ours")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]


@pytest.fixture
def answer(mine, monkeypatch, capfd):
    """A function: words of `lcx run`, in the folder that holds `mine` -> exit code and output. Nothing is computed."""

    def run(words):
        kept = [word for word in words if not word.startswith(("cache_dir=", "results_dir=", "report.against="))]
        dry = [] if any(word.startswith("dry_run=") for word in words) else ["dry_run=fingerprint"]
        monkeypatch.chdir(mine)
        monkeypatch.setattr(sys, "path", [path for path in sys.path if path])  # as of the script: not this folder
        code = exit_code([*kept, *dry, *folders(mine)], monkeypatch)
        shown = capfd.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    return run


def is_run(line):
    """Return whether a line of a page is run, and not only composed: those on which other lines of the page rest."""
    if not line.startswith("lcx run "):
        return True
    return "seeds=" not in line and any(word in line for word in ("experiment=", "--config-dir", "/shared"))


def in_folder(mine, script):
    """Return what a block prints that runs in the folder that holds `mine`, with /shared in it and its own group."""
    script = "\n".join(filter(is_run, script.splitlines()))
    script = script.replace("/shared", str(mine / "shared")).replace("chgrp lab", f"chgrp {os.getgid()}")
    (mine / "shared").mkdir(exist_ok=True)
    variables = environment(PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}", PYTHONSAFEPATH="1", HOME=str(mine))
    done = subprocess.run(
        ["bash", "-c", PRELUDE.format(python=shlex.quote(sys.executable)) + script],
        cwd=mine,
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("words", a_few([pytest.param(words, id=" ".join(words)) for words in RUNS], 8))
def test_every_command_is_accepted(answer, words):
    code, said = answer(words)
    assert code == 0, said


@pytest.mark.parametrize(("words", "said"), ANSWERS)
def test_the_program_answers_as_the_page_says(answer, words, said):
    printed = answer(words)[1]
    for part in said.split("..."):
        assert part.strip() in printed


def test_the_method_of_the_page_attaches_and_is_as_pretrained_at_factor_one(mine, tiny, monkeypatch):
    (block,) = [block for block in PAGES["own"] if block.kind == "python"]
    monkeypatch.chdir(mine)
    monkeypatch.syspath_prepend(mine)
    names = {"model": tiny()}
    exec(block.text, names)
    scaling = names["model"].model.attached.method.scaling
    ratio = scaling(torch.tensor([4.0, 1.0])) / scaling.spec.inv_freq()
    assert ratio.tolist() == [pytest.approx([1] * 4 + [0.25] * 4), pytest.approx([1] * 8)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_all_blocks_of_a_page_run_one_after_the_other(mine, page, monkeypatch):
    printed = ""
    for block in PAGES[page]:
        if block.kind == "commands":
            printed += in_folder(mine, block.text)
        if block.kind == "python" and page == "comparing":
            monkeypatch.chdir(mine)
            names = {"ids": torch.arange(1, 41)[None]}
            exec(block.text, names)
            assert names["text"].shape == (1, 60)
    assert "relative to pretrained" in printed


@pytest.mark.parametrize("block", ["    pip install it", "```\nlcx run\n```", "```json\n{}\n```", "```\nopen\n"])
def test_a_block_that_is_not_tried_is_refused(block):
    with pytest.raises(ValueError, match="block that no test tries"):
        blocks_of(f"Words.\n\n{textwrap.dedent(block) if '`' in block else block}\n")
