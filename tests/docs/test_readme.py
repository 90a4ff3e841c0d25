"""What the README says is true: its generated parts are fresh, its examples run."""

import re
import shlex
import subprocess
import textwrap

import pytest
import refresh
import torch
from generators import verdicts
from support.experiment_files import write_run
from support.lab import ROOT, TINY, command, environment, folders, results, runs

import lcx_lightning as lcx

README = ROOT / "README.md"
TEXT = README.read_text()
INDENTED = r"((?:    .*\n|\n)+)"


def test_its_generated_parts_are_fresh():
    assert refresh.readme() == TEXT, "run python docs/refresh.py"


@pytest.mark.slow
def test_the_verdicts_follow_from_the_archives():
    assert verdicts.claims_page() == verdicts.PAGE.read_text(), "run python docs/refresh.py --claims"


def test_it_has_at_most_150_lines_and_the_two_commands():
    assert len(TEXT.splitlines()) <= 150
    assert "    pip install -e . && lcx run +exp=quickstart\n" in TEXT
    assert "    pip install -e '.[test]' && pytest\n" in TEXT


def test_its_table_has_eight_arms_of_the_results_page():
    rows = refresh.block_of(TEXT, "quickstart").splitlines()[2:]
    assert len(rows) == 8
    page = (refresh.RESULTS / "quickstart.md").read_text()
    assert all(row.removesuffix(" |") in page for row in rows)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\(([^)#:]+)\)|`(sweeps/[^`]+)`", TEXT))))
def test_every_file_that_it_names_exists(name):
    assert (ROOT / next(filter(None, name))).exists()


def test_the_library_example_is_three_lines_that_generate(tiny):
    code = re.search(rf"## Your own model\n\n{INDENTED}", TEXT)[1]
    names = {"model": tiny(), "ids": torch.arange(1, 41)[None]}
    exec(textwrap.dedent(code), names)
    assert len(code.strip().splitlines()) == 3
    assert names["model"].model.attached.method.pattern.window == 64
    assert names["text"].shape == (1, 60)


# A method of one's own


@pytest.fixture
def mine(tmp_path):
    """A folder that holds the method as the README has it."""
    section = TEXT.split("## Adding a method")[1].split("\n## ")[0]
    files = re.findall(rf"`(mine/\S+)`:\n\n{INDENTED}", section)
    assert len(files) == 2
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


def test_a_method_outside_the_package_attaches_by_its_path(mine, tiny, monkeypatch):
    monkeypatch.chdir(mine)
    monkeypatch.syspath_prepend(mine)
    model = lcx.attach(tiny(), ["mine/method/slower.yaml", "lm_infinite"], factor=4)
    inv_freq = model.model.attached.method.rope(torch.ones(1, 40, dtype=torch.bool), 40).inv_freq[0]
    ratio = inv_freq / model.model.attached.method.scaling.spec.inv_freq()
    assert ratio.tolist() == pytest.approx([1] * 4 + [0.25] * 4)


@pytest.mark.slow
def test_a_method_outside_the_package_runs_and_composes_from_the_command_line(mine):
    (line,) = re.findall(r"`lcx run (--config-dir [^`]*)`", TEXT)
    *words, slower, factor = shlex.split(line)
    words += [factor, f"arms=['{slower}','method=[slower,lm_infinite]']", *TINY, *folders(mine)]
    done = subprocess.run(
        command(*words), cwd=mine, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    states = {run.arm: run.info["state"] for run in runs(results(mine)).values()}
    assert states == {"slower": "finished", "slower+lm_infinite": "finished"}
    assert f"experiments.run --config-dir={mine}/mine factor=4 " in done.stdout


# Refreshing


def test_results_are_written_into_the_pages_that_have_their_name(folder, tmp_path, monkeypatch):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "one.md").write_text("Before.\n<!-- quickstart -->\nearlier\n<!-- /quickstart -->\nAfter.\n")
    (pages / "quickstart.svg").write_text("old")
    (folder / "perplexity.svg").write_text("new")
    monkeypatch.setattr(refresh, "RESULTS", pages)
    refresh.write_results(folder)
    text = (pages / "one.md").read_text()
    assert "| pretrained |" in text
    assert "earlier" not in text
    assert text.startswith("Before.\n")
    assert text.endswith("<!-- /quickstart -->\nAfter.\n")
    assert (pages / "quickstart.svg").read_text() == "new"


def test_a_folder_whose_runs_cannot_be_compared_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(refresh, "RESULTS", tmp_path)
    write_run(folder, "yarn", order=9, pretrain_length=64)
    with pytest.raises(ValueError, match="holds runs that cannot be compared, such as those of pretrain_length="):
        refresh.write_results(folder)


def test_benchmarks_are_kept_with_their_figures_and_quick_ones_are_refused(tmp_path):
    folder, kept = tmp_path / "bench", tmp_path / "docs" / "benchmarks"
    folder.mkdir()
    (folder / "decode.json").write_text('{"quick": false}')
    for suffix in ("svg", "png"):
        (folder / f"decode.{suffix}").touch()
    refresh.keep_benchmarks(folder, kept)
    assert {path.name for path in kept.iterdir()} == {"decode.json", "decode.svg"}
    (folder / "dense.json").write_text('{"quick": true}')
    with pytest.raises(ValueError, match="dense ran with --quick"):
        refresh.keep_benchmarks(folder, kept)


def test_a_block_without_marks_is_refused():
    with pytest.raises(ValueError, match="<!-- nothing -->"):
        refresh.replace_block(TEXT, "nothing", "")
