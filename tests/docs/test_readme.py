"""What the README says is true: its generated parts are fresh, and its commands run."""

import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest
import torch
from support.lab import (
    EVALUATION,
    ROOT,
    TINY,
    TRAINING,
    command,
    composed,
    environment,
    folders,
    launch,
    runs,
    save_checkpoint,
    save_documents,
)
from support.task_files import LONGBENCH, save_archive

import lcx_lightning as lcx
from experiments.readme import (
    README,
    benchmarks_table,
    data_table,
    evaluations_table,
    keep_benchmarks,
    methods_table,
    needs_training,
    replace_block,
)

TEXT = README.read_text()
RUNS = sorted(set(re.findall(r"python -m experiments\.run ([^-`\n][^`\n]*)", TEXT)))
INDENTED = r"((?:    .*\n|\n)+)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def local(words, place):
    """Return the overrides of a command on the hub's files with files of this machine in their place."""
    hubs = ("model.source.name", "data", "data.corpus.load.path", "trainer")
    kept = [word for word in words if word.partition("=")[0] not in hubs]
    name = f"model.source.name={save_checkpoint(place / 'checkpoint')}"
    return [*kept, name, *save_documents(place / "data"), *EVALUATION]


def zipped(words, place):
    """Return the overrides of a command on data.zip with an archive of five tasks in its place, on a tiny model."""
    path = f"evaluation.longbench.source.path={save_archive(place / 'data.zip')}"
    few = [f"evaluation.longbench.chosen=[{','.join(LONGBENCH)}]", "evaluation.longbench.multiples=[1]"]
    tiny = [word for word in TINY if word not in EVALUATION]
    return [path if word == "evaluation.longbench.source.path=data.zip" else word for word in words] + few + tiny


def test_the_methods_table_is_that_of_the_method_files():
    assert replace_block(TEXT, "methods", methods_table()) == TEXT


def test_the_table_of_evaluations_is_that_of_their_files():
    assert replace_block(TEXT, "evaluations", evaluations_table()) == TEXT


def test_the_table_of_corpora_is_that_of_the_data_files():
    assert replace_block(TEXT, "data", data_table()) == TEXT


def test_the_table_of_benchmarks_is_that_of_the_kept_figures():
    assert replace_block(TEXT, "benchmarks", benchmarks_table()) == TEXT


def test_benchmarks_are_kept_with_their_figures_and_quick_ones_are_refused(tmp_path):
    folder, kept = tmp_path / "bench", tmp_path / "docs" / "benchmarks"
    folder.mkdir()
    (folder / "decode.json").write_text('{"quick": false}')
    for suffix in ("svg", "png"):
        (folder / f"decode.{suffix}").touch()
    keep_benchmarks(folder, kept)
    assert {path.name for path in kept.iterdir()} == {"decode.json", "decode.svg"}
    (folder / "dense.json").write_text('{"quick": true}')
    with pytest.raises(ValueError, match="dense ran with --quick"):
        keep_benchmarks(folder, kept)


def test_a_method_that_learns_or_samples_says_that_it_needs_training(build, spec, any_method):
    method = build(any_method, spec)
    if method.positions.samples or any(weight.requires_grad for weight in method.parameters()):
        assert needs_training(any_method)


def test_lm_infinite_needs_no_training_and_what_stands_on_clex_does():
    assert [needs_training(name) for name in ("pretrained", "lm_infinite", "clex_frozen", "pi")] == [
        False,
        False,
        True,
        True,
    ]


def test_the_library_example_is_three_lines_that_generate(tiny):
    code = re.search(rf"## As a library\n\n{INDENTED}", TEXT)[1]
    names = {"model": tiny(), "ids": torch.arange(1, 41)[None]}
    exec(textwrap.dedent(code), names)
    assert len(code.split("\n\n")[0].splitlines()) == 3
    assert names["model"].model.attached.method.pattern.window == 64
    assert names["text"].shape == (1, 60)


# A method of one's own


@pytest.fixture
def mine(tmp_path):
    """A folder that holds the method as the README has it."""
    section = TEXT.split("## Adding a method")[1].split("\n## ")[0]
    files = re.findall(rf"`(mine/\S+)`:\n\n{INDENTED}", section)
    assert len(files) == 2
    assert sum(bool(line) for line in section.splitlines()) < 20
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
    (line,) = re.findall(r"`python -m experiments\.run (--config-dir [^`]*)`", TEXT)
    *words, slower, factor = shlex.split(line)
    words += [factor, f"arms=['{slower}','method=[slower,lm_infinite]']", *TINY, *folders(mine)]
    done = subprocess.run(
        command(*words), cwd=mine, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {run.arm: run.info for run in runs(mine / "results" / "run").values()}
    assert {arm: info["state"] for arm, info in found.items()} == {
        "slower": "finished",
        "slower+lm_infinite": "finished",
    }
    assert f"experiments.run --config-dir={mine}/mine factor=4 " in done.stdout


def test_the_two_commands_are_in_it():
    assert "pip install -e . && python -m experiments.run +exp=quickstart" in TEXT
    assert "pip install -e '.[test]' && pytest" in TEXT


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNS)
def test_every_run_command_ends_well_at_tiny_sizes(command, place):
    words = [word.replace("seeds=3", "seeds=2") for word in shlex.split(command) if word != "..."]
    if "evaluation=longbench" in words:
        words = zipped(words, place)
    else:
        words = local(words, place) if "model=hub" in words else [*words, *TINY]
    trains = [*TRAINING] if {"+exp=quickstart", "training=finetune"} & set(words) else []
    done = launch(*words, *trains, *folders(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("index.html" in done.stdout) != bool({"fingerprint=only", "forecast=only", "data_report=only"} & set(words))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((docs/[^)]+)\)|`(sweeps/[^`]+\.yaml)`", TEXT))))
def test_every_file_it_names_exists(path):
    (name,) = filter(None, path)
    assert (README.parent / name).exists()


def test_a_block_without_marks_is_refused():
    with pytest.raises(ValueError, match="<!-- nothing -->"):
        replace_block(TEXT, "nothing", "")


def test_the_results_table_has_the_arms_of_the_experiment():
    block = re.search(r"<!-- quickstart -->\n(.*?)<!-- /quickstart -->", TEXT, re.DOTALL)
    arms = composed("+exp=quickstart").arms
    names = {name for arm in arms for name in re.search(r"method=(\S+)", arm)[1].split(",")}
    assert block
    assert names <= set(re.findall(r"^\| (\w+) ", block[1].replace("\\", ""), re.MULTILINE))
    assert Path(README.parent / "docs" / "quickstart.svg").stat().st_size > 0
