"""The command line from end to end at tiny sizes."""

import re
import subprocess
import sys

import pytest
import torch
from support.lab import (
    EVALUATION,
    ROOT,
    TINY,
    TRAINING,
    L,
    arms_of,
    environment,
    folders,
    launch,
    numbers,
    results,
    runs,
    save_checkpoint,
    save_documents,
)

from lcx_lightning.runner import stages
from lcx_lightning.runner.arms import CACHE_FORMAT
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.launch import worker
from lcx_lightning.runner.trainer_config import TrainerSettings

pytestmark = pytest.mark.xdist_group("test_run")  # one launch for all that is asserted of it

QUICKSTART = ["+exp=quickstart", *TINY, *TRAINING]
FIGURES = {
    "perplexity.svg",
    "perplexity.png",
    "perplexity_whole_window.svg",
    "perplexity_whole_window.png",
    "index.html",
}


def files(folder):
    """Return the bytes of every record file under a folder, by its name there."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("records.jsonl"))}


# A grid, and the same command again


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def first(place):
    return launch(*QUICKSTART, *folders(place))


@pytest.fixture(scope="module")
def grid(place, first):
    """The runs of the first launch, as they stood at its end."""
    folder = place / "results" / "quickstart"
    return runs(folder), files(folder), {path for path in (place / "cache").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def second(place, grid):
    return launch(*QUICKSTART, *folders(place))


def test_the_quick_start_ends_well(first):
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Traceback" not in first.stdout + first.stderr
    assert first.stderr == ""


def test_every_arm_is_finished_with_all_its_rows(grid):
    found, _, _ = grid
    assert {run.info["method"] for run in found.values()} >= {"pretrained", "pi", "ntk", "yarn", "clex", "lm_infinite"}
    for run in found.values():
        assert (run.info["state"], run.info["reason"]) == ("finished", None)
        cells = [(row["protocol"], row["context_length"]) for row in run.rows]
        for cell in ((p, n) for p in ("last_k", "whole_window") for n in (L, 2 * L)):
            assert cells.count(cell) == 2, (run.arm, cell)
        assert len(cells) == 8
        assert all(
            row["n"] == {"last_k": 16, "whole_window": row["context_length"] - 1}[row["protocol"]] for row in run.rows
        )
        assert all(0 < row["value"] / row["n"] < 10 for row in run.rows)
        assert {(row["run"], row["arm"]) for row in run.rows} == {(run.info["run"], run.arm)}


def test_all_arms_saw_the_same_windows_and_no_two_have_the_same_numbers(grid):
    found = {run.arm: numbers(run) for run in grid[0].values()}
    assert len({frozenset(values) for values in found.values()}) == 1
    assert len({tuple(value for _, value in sorted(values.items())) for values in found.values()}) == len(found)


def test_lm_infinite_is_the_untouched_model_at_its_pretraining_length(grid):
    found = {run.arm: numbers(run) for run in grid[0].values()}
    at_length = [key for key in found["pretrained"] if key[5] == L]
    assert [found["pretrained"][k][0] for k in at_length] == pytest.approx(
        [found["lm_infinite"][k][0] for k in at_length]
    )


def test_run_files_say_what_was_run_and_on_what(grid):
    for run in grid[0].values():
        info = run.info
        assert info["config"]["model"]["recipe"]["steps"] == 4
        (computed_by,) = info["computed_by"]
        assert computed_by["versions"]["torch"] == torch.__version__
        assert computed_by["cache_format"] == CACHE_FORMAT
        assert info["base"]["computed_by"][0]["versions"] == computed_by["versions"]
        assert len(info["fingerprint"]) == len(info["fingerprint_after_training"]) == 16
        assert (
            (info["train_length"] is None) == (info["config"]["training"] is None) == (info["seconds"]["extend"] == 0)
        )
        learned = info["method"] in ("clex", "clex_blocks")
        assert (info["fingerprint"] != info["fingerprint_after_training"]) == learned
        by = ("dense", "dense") if "lm_infinite" not in info["method"] else ("flash_bands", "blocks")
        assert info["config"]["attention"] == "auto"
        assert (info["throughput"] is None) == (info["config"]["training"] is None)
        assert (info["throughput"] or {"seconds": 0})["seconds"] == info["seconds"]["extend"]
        assert info["base"]["throughput"]["tokens"] == 4 * 2 * L * 17 // 16
        assert info["attention"] == dict(zip(("prefill", "decode"), by, strict=True))
    assert len({run.info["base"]["key"] for run in grid[0].values()}) == 1


def test_the_base_was_trained_once_and_every_trained_arm_once(place, grid):
    trained = [run for run in grid[0].values() if run.info["config"]["training"]]
    assert len(list((place / "cache" / "base").glob("*/stage.json"))) == 1
    assert len(list((place / "cache" / "extend").glob("*/stage.json"))) == len(trained) > 3
    assert not list((place / "cache").glob("*/*.work"))


def test_the_paths_printed_last_exist_and_the_command_to_go_on_follows(place, first):
    lines = [line for line in first.stdout.splitlines() if line.strip()]
    assert lines[-1].startswith("python -m experiments.run +exp=quickstart ")
    assert lines[-1].endswith("# to repeat over seeds, add seeds=3")
    paths = [place / "results" / "quickstart" / name for name in FIGURES]
    assert set(lines[-1 - len(FIGURES) : -1]) == set(map(str, paths))
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_first_line_tells_what_begins(place, first):
    begin = f"9 arms, 2 at a time, results in {place / 'results' / 'quickstart'}"
    assert begin in first.stdout.splitlines()[:2]


def test_the_table_and_what_to_look_for_are_printed(first):
    for word in ("pretrained", "lm_infinite", "64", "128", "(1L)", "(2L)", "LM-Infinite: without any training"):
        assert word in first.stdout


@pytest.mark.slow
def test_the_same_command_again_runs_nothing_and_changes_no_number(place, grid, second):
    assert second.returncode == 0
    assert "done" not in second.stdout.replace("is done", "")
    found, bytes_before, cached = grid
    folder = place / "results" / "quickstart"
    assert files(folder) == bytes_before
    assert set(runs(folder)) == set(found)
    assert {path for path in (place / "cache").rglob("*") if path.is_file()} == cached


# Seeds, lists of methods, checkpoints and data of one's own


@pytest.fixture(scope="module")
def seeds(place, grid):
    """A hybrid and an arm that changes nothing, over two seeds: the launch and its runs, by arm and seed."""
    arms = "arms=['method=[yarn,lm_infinite]','method=pi factor=1']"
    done = launch(arms, "seeds=2", "experiment=seeds", *TINY, *folders(place))
    assert done.returncode == 0, done.stdout + done.stderr
    return done, {(run.arm, run.info["seed"]): run for run in runs(place / "results" / "seeds").values()}


@pytest.mark.slow
def test_the_command_to_go_on_is_the_one_that_was_given(seeds):
    done, _ = seeds
    assert "'arms=['\"'\"'method=[yarn,lm_infinite]'\"'\"','\"'\"'method=pi factor=1'\"'\"']' seeds=2" in done.stdout


@pytest.mark.slow
def test_seeds_have_bases_of_their_own_and_a_list_of_methods_is_one_arm(place, grid, seeds):
    _, found = seeds
    one, other = found["yarn+lm_infinite", 0], found["yarn+lm_infinite", 1]
    assert one.finished
    assert other.finished
    assert one.info["base"]["key"] in {run.info["base"]["key"] for run in grid[0].values()}
    assert len(list((place / "cache" / "base").glob("*/stage.json"))) == 2
    assert numbers(one).keys() == numbers(other).keys()
    assert numbers(one) != numbers(other)


@pytest.mark.slow
def test_a_method_that_changes_nothing_is_skipped_in_a_grid_and_shown(seeds):
    done, found = seeds
    for seed in (0, 1):
        run = found["pi", seed]
        assert (run.info["state"], run.info["reason"]) == ("skipped", "equals pretrained")
        assert run.rows == []
    assert "equals pretrained" in done.stdout


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Overrides for a checkpoint and documents on this machine."""
    root = tmp_path_factory.mktemp("own")
    model = ["model=hub", f"model.source.name={save_checkpoint(root / 'checkpoint')}"]
    return root, [*model, *save_documents(root / "data"), *EVALUATION]


@pytest.mark.slow
def test_a_checkpoint_and_documents_of_ones_own_run_zero_shot_and_fine_tuned(own):
    root, line = own
    arms = "arms=['method=pretrained,lm_infinite','method=pi training=finetune']"
    done = launch(arms, "experiment=own", *line, *TRAINING, *folders(root))
    assert done.returncode == 0, done.stdout + done.stderr
    found = {run.arm: run for run in runs(root / "results" / "own").values()}
    assert {arm: run.info["state"] for arm, run in found.items()} == dict.fromkeys(
        ["pretrained", "lm_infinite", "pi"], "finished"
    )
    assert all(len(run.rows) == 8 for run in found.values())
    assert {row["document"].split("/")[0] for run in found.values() for row in run.rows} == {"test.jsonl"}
    assert not (root / "cache" / "base").exists()
    at_length = [key for key in numbers(found["pi"]) if dict(key)["context_length"] == L]
    pretrained, lm_infinite, pi = (
        [numbers(found[a])[k][0] for k in at_length] for a in ("pretrained", "lm_infinite", "pi")
    )
    assert pretrained == pytest.approx(lm_infinite)
    assert pretrained != pytest.approx(pi)


HELP = """
import runpy, sys
sys.argv = ["run", "--help"]
try:
    runpy.run_module("experiments.run", run_name="__main__")
except SystemExit as stop:
    assert not stop.code
heavy = {"torch", "transformers", "lightning", "datasets", "altair"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_shows_the_choices_without_importing_anything_heavy():
    asked = [sys.executable, "-c", HELP]
    done = subprocess.run(asked, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for word in ("quickstart", "ablate_lambda", "lm_infinite", "finetune", "results_dir", "seeds"):
        assert word in done.stdout


@pytest.mark.slow
def test_fingerprint_only_prints_a_block_for_every_arm_and_runs_nothing(tmp_path, grid):
    done = launch(*QUICKSTART, "dry_run=fingerprint", "seeds=2", *folders(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    blocks = dict(re.findall(r"^(\S+)   fingerprint (\w{16}) ", done.stdout, re.MULTILINE))
    stored = {run.arm: run.info["fingerprint"] for run in grid[0].values()}
    assert blocks == stored
    yarn = done.stdout.split("yarn   fingerprint")[1].split("   fingerprint")[0]
    assert re.search(r"evaluation 128 +2 +x 1\.069 +x 1 +0 to 127 +0-127 as they are", yarn)  # 1 + ln(2) / 10
    assert re.search(r"^ +0 +1 +\S+ +x 1 *$", yarn, re.MULTILINE)
    assert re.search(r"^ +3 +\S+ +\S+ +x 0\.5 *$", yarn, re.MULTILINE)
    lm_infinite = done.stdout.split("lm_infinite   fingerprint")[1]
    assert "0-63 as they are, 64-117 unseen, 118-127 at 64" in lm_infinite


@pytest.mark.slow
def test_arms_whose_base_failed_are_reported_as_failed_with_the_reason(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "base").write_text("where the folder of the bases would be")
    done = launch("method=lm_infinite", *TINY, *folders(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (run,) = runs(results(tmp_path)).values()
    assert run.info["state"] == "failed"
    assert "its base failed: FileExistsError" in run.info["reason"]
    assert "index.html" in done.stdout
    assert "# to try what failed again" in done.stdout


def test_an_arm_is_evaluated_on_the_device_that_it_is_trained_on(tmp_path, monkeypatch):
    (arm,) = arms_of("method=lm_infinite", *TINY, *folders(tmp_path))
    assert BuiltArm(arm).trainer.device() == torch.device("cpu")
    evaluated = []
    monkeypatch.setattr(TrainerSettings, "device", lambda _: torch.device("meta"))
    monkeypatch.setattr(stages, "evaluate", lambda _arm, model, *_: evaluated.append(model.device.type) or 0.0)
    monkeypatch.setattr(worker, "backends", lambda *_: {})  # looks at numbers
    worker.run_arm(BuiltArm(arm), lambda *_: None)
    assert evaluated == ["meta"]
