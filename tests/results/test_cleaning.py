"""`lcx clean`: what is named goes, after a question; what is in use, or none of lcx, stays."""

import io
import os
import sys

import pytest
from filelock import FileLock
from support.experiment_files import write_run

from experiments import clean as command
from lcx_lightning.results.listing import LOCK
from lcx_lightning.results.records import write_json


def stage(cache, name, file="stage.json", **said):
    """Make a cached stage as one that is finished."""
    write_json(cache / name / file, said)
    (cache / name).with_suffix(".lock").touch()
    return cache / name


@pytest.fixture
def cache(tmp_path):
    """A cache: a base and a model that a run refers to, another model, a checkpoint, tokens of two corpora."""
    cache = tmp_path / "cache"
    for name in ("base/" + "a" * 12, "extend/" + "b" * 12, "extend/" + "c" * 12):
        stage(cache, name)
    (cache / "extend" / ("d" * 12 + ".work")).mkdir()
    (cache / "extend" / ("d" * 12 + ".work") / "last.ckpt").write_text("weights")
    stage(cache, "tokens/" + "1" * 16, "documents.json", key='[4, "used/train", "x"]')
    stage(cache, "tokens/" + "2" * 16, "documents.json", key='[4, "other/train", "x"]')
    (cache / "hashes").mkdir()
    (cache / "hashes" / ("e" * 32)).write_text("f" * 64)
    return cache


@pytest.fixture
def results(tmp_path, cache):
    """Two experiments: one finished, with a report, a folder put aside, and a note of the user's; one interrupted."""
    results = tmp_path / "results"
    done = {"base": "base/" + "a" * 12, "extend": "extend/" + "b" * 12}
    write_run(results / "first", "pi", checkpoint=done, corpus="used")
    write_run(results / "first", "yarn", checkpoint={"base": "base/" + "a" * 12, "extend": None}, corpus="used")
    write_json(results / "first" / "experiment.json", {"name": "first", "runs": ["pi-0", "yarn-0"]})
    (results / "first" / "perplexity.svg").write_text("<svg>")
    (results / "first" / "notes.txt").write_text("mine")
    write_run(results / "first" / "aside", "pi")
    cut = {"base": "base/" + "a" * 12, "extend": "extend/" + "d" * 12}
    write_run(results / "second", "clex", state="interrupted", checkpoint=cut, corpus="used")
    return results


@pytest.fixture
def clean(results, cache):
    """A function: words -> the exit code of the command."""

    def call(*words):
        return command.main([*map(str, words), "--results-dir", str(results), "--cache-dir", str(cache)])

    return call


def tree(folder):
    """Return every file under a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_experiment_goes_and_what_is_none_of_lcx_stays(clean, results, cache, capsys):
    before = tree(cache)
    assert clean("first", "--yes") == 0
    assert tree(results / "first") == {"notes.txt"}
    assert tree(cache) == before
    out = capsys.readouterr().out
    assert f"kept, because it is none of lcx: {results / 'first' / 'notes.txt'}" in out
    assert "2 finished" in out
    assert clean("second", "--yes") == 0
    assert not (results / "second").exists()


def test_an_arm_goes_alone(clean, results):
    assert clean("first/pi", "--yes") == 0
    assert not (results / "first" / "pi-0").exists()
    assert (results / "first" / "yarn-0" / "run.json").exists()


def test_unfinished_runs_go_with_their_checkpoints(clean, results, cache):
    assert clean("--unfinished", "--yes") == 0
    assert not (results / "second" / "clex-0").exists()
    assert not list(cache.glob("extend/*.work"))
    assert (results / "first" / "pi-0").exists()
    assert len(list(cache.glob("*/*/stage.json"))) == 3


def test_what_was_put_aside_goes_alone(clean, results):
    before = tree(results)
    assert clean("--aside", "--yes") == 0
    assert before - tree(results) == {"first/aside/pi-0/run.json", "first/aside/pi-0/records.jsonl"}


def test_of_the_cache_what_no_run_refers_to_goes(clean, cache):
    before = tree(cache)
    assert clean("--cache", "unused", "--yes") == 0
    gone = {f"extend/{'c' * 12}/stage.json", f"extend/{'c' * 12}.lock"}
    gone |= {f"tokens/{'2' * 16}/documents.json", f"tokens/{'2' * 16}.lock"}
    assert before - tree(cache) == gone


def test_all_of_the_cache_goes_but_not_what_is_none_of_it(clean, cache):
    (cache / "base" / "mine").mkdir()
    (cache / "base" / "mine" / "stage.json").write_text("{}")
    (cache / "thesis.tex").write_text("mine")
    assert clean("--cache=all", "--yes") == 0
    assert tree(cache) == {"thesis.tex", "base/mine/stage.json"}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1), ("", 1), ("no\n", 1)])
def test_nothing_goes_without_a_yes(answer, code, clean, results, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert clean("second") == code
    assert (results / "second").exists() == bool(code)
    assert "Remove? [y/N]" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["first"], ["--unfinished"], ["--aside"], ["--cache=all"], ["--cache=unused"]])
def test_a_dry_run_removes_nothing_and_tells_the_same(words, clean, tmp_path, capsys):
    before = tree(tmp_path)
    assert clean(*words, "--dry-run") == 0
    told = capsys.readouterr().out
    assert tree(tmp_path) == before
    assert clean(*words, "--yes") == 0
    assert capsys.readouterr().out == told + "Removed.\n"


@pytest.mark.parametrize("words", [["first"], ["first/pi"], ["--cache=all"]])
def test_what_a_run_uses_is_refused(words, clean, results, tmp_path, capsys):
    write_run(results / "first", "pi", state="running", checkpoint={})
    with FileLock(results / "first" / "pi-0" / LOCK):
        before = tree(tmp_path)
        assert clean(*words, "--yes") == 2
        assert "Stop it first" in capsys.readouterr().err
        assert tree(tmp_path) == before


def test_a_stage_that_is_being_made_is_refused(clean, cache, capsys):
    with FileLock(cache / "extend" / ("c" * 12 + ".lock")):
        assert clean("--cache=unused", "--yes") == 2
    assert "is in use" in capsys.readouterr().err
    assert (cache / "extend" / ("c" * 12) / "stage.json").exists()


def test_links_are_not_followed(clean, results, cache, tmp_path, capsys):
    outside = tmp_path / "outside"
    write_run(outside, "pi")
    (results / "link").symlink_to(outside)
    (results / "first" / "run-elsewhere").symlink_to(outside / "pi-0")
    (results / "first" / "aside" / "link").symlink_to(outside)
    kept = cache / "base" / ("f" * 12)
    kept.symlink_to(outside)
    assert clean("link", "--yes") == 2
    assert "is a link" in capsys.readouterr().err
    assert clean("first", "--yes") == 0
    assert clean("--cache=all", "--yes") == 0
    assert tree(outside) == {"pi-0/run.json", "pi-0/records.jsonl"}
    assert kept.is_symlink()
    assert os.path.lexists(results / "first" / "run-elsewhere")


@pytest.mark.parametrize("name", [".", "mine", "mine/inner", "nothing"])
def test_a_folder_of_something_else_is_refused(name, clean, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine" / "inner").mkdir(parents=True)
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert clean(name, "--yes") == 2
    assert capsys.readouterr().err
    assert tree(tmp_path) == before


def test_of_a_project_with_a_run_json_only_that_file_is_ours(clean, tmp_path):
    (tmp_path / "project" / "src").mkdir(parents=True)
    (tmp_path / "project" / "src" / "main.py").write_text("mine")
    (tmp_path / "project" / "run.json").write_text("{}")
    assert clean(tmp_path / "project", "--yes") == 0
    assert tree(tmp_path / "project") == {"src/main.py"}


def test_unused_needs_experiments_that_can_be_read(clean, results, cache, tmp_path, capsys):
    asked = ["--cache=unused", "--yes", "--cache-dir", str(cache), "--results-dir"]
    before = tree(cache)
    assert command.main([*asked, str(tmp_path / "elsewhere")]) == 2
    assert "would count as unused" in capsys.readouterr().err
    (results / "first" / "pi-0" / "run.json").write_text("{")
    assert clean("--cache=unused", "--yes") == 2
    assert "remove it first" in capsys.readouterr().err
    assert tree(cache) == before


def test_something_must_be_named(clean, capsys):
    assert clean() == 2
    assert "Name what is to go" in capsys.readouterr().err
    assert clean("first", "--cache=all") == 2
    assert "shared by experiments" in capsys.readouterr().err
