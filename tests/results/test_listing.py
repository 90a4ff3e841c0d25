"""`lcx list`: what there is, how far it is, and how large; files that cannot be read end nothing."""

import json
import subprocess
import sys

import pytest
from filelock import FileLock
from support.experiment_files import write_run
from support.lab import ROOT

from experiments import list as command
from lcx_lightning.results.listing import LOCK, entries_in, find_runs, read_run
from lcx_lightning.results.records import write_json


@pytest.fixture
def results(tmp_path, folder):
    """A results folder with two experiments: the first of `folder`, and one that has just begun."""
    write_run(tmp_path / "second", "yarn", state="failed", reason="OSError: disk full", order=0)
    write_run(tmp_path / "second", "pi", state="running", order=1)
    write_json(tmp_path / "second" / "experiment.json", {"name": "second", "runs": ["yarn-0", "pi-0", "ntk-0"]})
    (tmp_path / "notes").mkdir()
    return tmp_path


@pytest.fixture
def cache(tmp_path):
    """A cache with a base, a checkpoint of an unfinished extension, tokens, and a file that is none of its own."""
    cache = tmp_path / "cache"
    write_json(cache / "base" / ("a" * 12) / "stage.json", {})
    (cache / "base" / ("a" * 12 + ".lock")).touch()
    (cache / "extend" / ("b" * 12 + ".work")).mkdir(parents=True)
    (cache / "extend" / ("b" * 12 + ".work") / "last.ckpt").write_bytes(bytes(3000))
    write_json(cache / "tokens" / ("c" * 16) / "documents.json", {})
    (cache / "tokens" / "README").write_text("mine")
    return cache


def lines_of(capsys, *words):
    assert command.main(list(map(str, words))) == 0
    return capsys.readouterr().out.splitlines()


def test_every_experiment_has_a_line_with_its_states(results, cache, capsys):
    lines = lines_of(capsys, "--results-dir", results, "--cache-dir", cache)
    first, second = (next(line for line in lines if line.startswith(name)) for name in ("quickstart", "second"))
    assert first.endswith("6 of 8 finished, 2 skipped")
    assert first.split()[1] == "4"
    assert second.endswith("0 of 3 finished, 1 failed, 1 interrupted, 1 not begun")
    assert not any("notes" in line for line in lines)


def test_the_cache_is_told_by_stage(results, cache, capsys):
    lines = lines_of(capsys, "--results-dir", results, "--cache-dir", cache)
    shown = [line.split() for line in lines[lines.index("") + 1 :]]
    assert [words[0] for words in shown] == ["cache", "base", "extend", "tokens", "All"]
    assert " ".join(shown[2]) == "extend 2.93 KiB 1 unfinished"
    assert {entry.state for entry in entries_in(cache)} == {"finished", "unfinished", "lock"}


def test_the_arms_of_an_experiment_are_told_with_reasons_and_folders(results, capsys):
    for name in ("second", results / "second"):
        lines = lines_of(capsys, name, "--results-dir", results)
        assert lines[1].startswith("failed")
        assert lines[1].endswith(str(results / "second" / "yarn-0"))
        assert lines[2] == "  OSError: disk full"
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["state", "failed", "interrupted", "not"]


def test_a_run_is_running_while_a_process_holds_its_lock(results):
    folder = results / "second" / "pi-0"
    assert read_run(folder).state == "interrupted"
    with FileLock(folder / LOCK):
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "interrupted"


DAMAGED = ["", "{", "[]", "null", '{"arm": 3, "seed": 0, "state": "finished"}', "[" * 100_000, "\udcff", "{}"]
DAMAGED += ['{"arm": "pi", "seed": "0", "state": "x"}', '{"arm": "pi", "seed": 0, "state": null}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_run_is_listed_as_such(text, results, capsys):
    (results / "second" / "pi-0" / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    lines = lines_of(capsys, "second", "--results-dir", results)
    at = next(number for number, line in enumerate(lines) if line.startswith("damaged"))
    assert "run.json" in lines[at + 1]
    assert "1 damaged" in "\n".join(lines_of(capsys, "--results-dir", results, "--cache-dir", results))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"runs": 3}', '{"runs": [1, null]}', '{"commands": 5}', '{"commands": [5]}']
)
def test_a_damaged_experiment_file_hides_no_run(text, results, capsys):
    (results / "second" / "experiment.json").write_text(text)
    assert sum("-0" in line for line in lines_of(capsys, "second", "--results-dir", results)) == 2


def test_an_unknown_name_is_refused_with_near_ones(results, capsys):
    assert command.main(["quickstrt", "--results-dir", str(results)]) == 2
    assert capsys.readouterr().err == f"There is no experiment 'quickstrt' in {results}. Did you mean quickstart?\n"
    assert command.main(["quickstart/pi", "--results-dir", str(results)]) == 2
    assert "name the experiment" in capsys.readouterr().err


def test_an_arm_is_found_behind_the_name_of_its_experiment(results, monkeypatch):
    assert [run.seed for run in find_runs("quickstart/pi", results).runs] == [0, 1]
    assert find_runs(results / "quickstart" / "pi-1", results).runs[0].seed == 1
    monkeypatch.chdir(results / "quickstart")
    assert [run.seed for run in find_runs("pi", results).runs] == [0, 1]
    with pytest.raises(ValueError, match="Did you mean clex_blocks"):
        find_runs("quickstart/clex_block", results)


def test_without_results_it_says_what_makes_them(tmp_path, capsys):
    lines = lines_of(capsys, "--results-dir", tmp_path / "none", "--cache-dir", tmp_path / "none")
    assert "lcx run makes one" in lines[0]
    assert lines[-1] == f"The cache {tmp_path / 'none'} is empty."


@pytest.mark.slow
def test_listing_imports_no_torch(results):
    asked = f"main(['--results-dir', {str(results)!r}]), main(['second', '--results-dir', {str(results)!r}])"
    code = f"import sys, json; from experiments.list import main; {asked}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "lightning", "hydra"} & set(json.loads(done.stdout.splitlines()[-1]))
