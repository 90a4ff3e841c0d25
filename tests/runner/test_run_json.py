"""run.json says what computed the numbers; those of another method, or damaged ones, are computed again."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from support.damaged_files import cut, flipped
from support.lab import TINY, TRAINING, arms_of, folders, numbers, results, run_here, runs

from lcx_lightning.runner import experiment, provenance, run_json
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.launch import worker
from lcx_lightning.runner.run_json import begin_run, is_finished, read_run, set_aside, write_run
from lcx_lightning.runner.stages import row_head

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:Found .* in eval mode.*")
LINE = ["method=pi", "training=finetune", *TINY, *TRAINING]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    run_here(*LINE, *folders(root))
    return root


@pytest.fixture
def finished(made, tmp_path):
    """A finished arm in a folder of its own, and its folders."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return arms_of(*LINE, *folders(tmp_path))[0]


def again(arm):
    """Do what the command does with an arm: put aside what cannot be used, and run it if it is not finished."""
    said = set_aside(arm)
    if not is_finished(arm):
        worker.run_arm(BuiltArm(arm), lambda *_: None)
    return said


def test_a_finished_arm_is_not_written_again(finished, monkeypatch):
    """Not even where a later command runs with other code, versions or hardware."""
    before = (finished.folder / "run.json").read_bytes()
    monkeypatch.setattr(provenance, "_git_commit", lambda _: "f" * 40)
    monkeypatch.setattr(provenance, "_hardware", lambda: {"gpu": "another"})
    assert experiment.plan([finished]) == []
    assert again(finished) is None
    assert (finished.folder / "run.json").read_bytes() == before


def test_a_later_rank_in_the_grid_is_added_and_the_command_with_todays_folders_and_nothing_else(finished):
    before = read_run(finished)
    experiment.plan([replace(finished, order=3)])
    assert str(finished.config["results_dir"]) not in before["command"]  # it was copied from there
    assert str(finished.config["results_dir"]) in finished.command
    assert read_run(finished) == before | {"order": 3, "command": finished.command}


def test_a_run_that_goes_on_elsewhere_was_computed_by_both(finished, monkeypatch):
    write_run(finished, "interrupted")
    begin_run(finished)
    assert len(read_run(finished)["computed_by"]) == 1
    monkeypatch.setattr(run_json, "provenance", lambda: {"git_commit": "another"})
    begin_run(finished)
    first, second = read_run(finished)["computed_by"]
    assert (first["versions"]["torch"], second) == (first["versions"]["torch"], {"git_commit": "another"})


@pytest.mark.parametrize("state", ["finished", "interrupted", "failed"])
def test_numbers_of_a_method_that_did_something_else_are_put_aside_and_the_arm_is_trained_again(finished, state):
    """As after a change of the code of the method, in this package, that nobody has raised the cache's format for."""
    write_run(finished, state)
    held = (finished.folder / "records.jsonl").read_bytes()
    changed = replace(finished, fingerprint="0" * 16, training_fingerprint="1" * 16)
    said = again(changed)
    assert f"fingerprint {finished.fingerprint}, now {'0' * 16}" in said
    kept = finished.folder.parent / "aside" / finished.folder.name
    assert str(kept) in said
    assert (kept / "records.jsonl").read_bytes() == held
    assert json.loads((kept / "run.json").read_text())["fingerprint"] == finished.fingerprint
    assert read_run(changed)["fingerprint"] == "0" * 16
    trained = sorted(finished.cache("extend", "").glob("**/stage.json"))
    assert [json.loads(path.read_text())["fingerprint"] for path in trained] == [
        "1" * 16,
        finished.training_fingerprint,
    ]
    assert set(runs(finished.folder.parent)) == {finished.folder.name}
    assert is_finished(changed)


def without_a_row(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))


def of_another_value(path):
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps(json.loads(first) | {"value": 0.5}) + "\n", *rest]))


@pytest.mark.parametrize(
    "damage", [without_a_row, of_another_value, flipped, cut, os.unlink, lambda path: path.write_text("")]
)
def test_records_that_are_not_as_they_were_written_are_computed_again(finished, damage):
    (before,) = runs(finished.folder.parent).values()
    damage(finished.folder / "records.jsonl")
    assert not is_finished(finished)
    assert "records.jsonl is not as it was written" in again(finished)
    (after,) = runs(finished.folder.parent).values()
    assert numbers(after) == numbers(before)
    assert is_finished(finished)


def test_a_row_that_was_announced_and_not_computed_fails_the_arm(tmp_path, monkeypatch):
    monkeypatch.setattr("lcx_lightning.runner.stages.run", lambda *_: iter([[]]))
    with pytest.raises(RuntimeError, match="8 numbers were announced and not computed, the first is that of"):
        run_here(*TINY, *folders(tmp_path))


def test_a_base_whose_weights_are_nan_is_no_result(tmp_path, monkeypatch):
    """The arm fails with the number, its length and its document; the table has no `nan`."""

    def spoiled(*arguments, **keywords):
        model = load(*arguments, **keywords)
        next(model.parameters()).data[3:] = float("nan")
        return model

    load = worker.stages.model_to_evaluate
    monkeypatch.setattr(worker.stages, "model_to_evaluate", spoiled)
    with pytest.raises(ValueError, match=r"nll of .* at 64 tokens \(last_k\) is nan: weights or activations"):
        run_here(*TINY, *folders(tmp_path))
    (run,) = runs(results(tmp_path)).values()
    assert run.rows == []


def test_the_commit_is_that_of_the_package_and_not_of_a_repository_around_it(tmp_path):
    """An environment often stands inside the user's own repository."""
    os.system(f"git -C {tmp_path} init -q")
    for name in ("tracked.py", "installed.py"):
        (tmp_path / name).write_text("")
    git = f"git -C {tmp_path} -c user.name=a -c user.email=a@b"
    os.system(f"{git} add tracked.py && {git} commit -qm first")
    commit = provenance._git_commit(tmp_path / "tracked.py")
    assert len(commit) == 40
    assert provenance._git_commit(tmp_path / "installed.py") is None
    (tmp_path / "tracked.py").write_text("changed = 1\n")
    provenance._git_commit.cache_clear()
    assert provenance._git_commit(tmp_path / "tracked.py") == f"{commit}-dirty"


@pytest.mark.parametrize("said", [None, "{}", '{"state": "finished"}'])
def test_numbers_of_which_nothing_says_what_computed_them_are_not_used(finished, said):
    path = finished.folder / "run.json"
    path.unlink() if said is None else path.write_text(said)
    assert "does not say what computed" in again(finished)
    assert is_finished(finished)


@pytest.mark.parametrize(
    ("line", "factor"),
    [
        (["method=pi", "factor=4"], 4),
        (["method=lm_infinite", "factor=4"], None),
        (["method=pretrained"], None),
        (["method=pretrained", "training=finetune", "train_factor=2"], None),
        (["method=pretrained", "training=finetune", "factor=4"], 4),  # by way of train_factor
    ],
)
def test_a_factor_is_told_only_where_the_arm_depends_on_it(line, factor, tmp_path):
    (arm,) = arms_of(*TINY, *TRAINING if "training=finetune" in line else (), *line, *folders(tmp_path))
    assert arm.factor == row_head(arm)["factor"] == factor
    write_run(arm, "running")
    assert read_run(arm)["factor"] == factor
