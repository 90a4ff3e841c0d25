"""The id of a run and the keys of its stages: they change with what the numbers depend on, and with nothing else."""

import json
from dataclasses import replace

import pytest
import torch
from support.lab import (
    EVALUATION,
    TINY,
    TRAINING,
    arms_of,
    built_arms_of,
    folders,
    save_checkpoint,
    save_documents,
)

from lcx_lightning.runner import stages

PI = ["method=pi", "training=finetune", *TINY, *TRAINING]


@pytest.fixture(scope="module")
def before():
    """The arm of the command line `PI`, from which a change is told."""
    (arm,) = arms_of(*PI)
    return arm


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.growing_context.last=8",
        "evaluation.growing_context.multiples=[1]",
        "method=yarn",
        "factor=4",
        "seed=1",
        "attention=flash_bands",
        "data.documents=masked",
    ],
)
def test_the_run_id_changes_with_what_its_numbers_depend_on(change, before):
    (after,) = arms_of(*PI, change)
    assert before.run != after.run
    assert (before.base_key == after.base_key) == (change not in ("seed=1", "data.documents=masked"))
    assert (before.extend_key == after.extend_key) == change.startswith("evaluation")


@pytest.mark.parametrize(
    "change", ["results_dir=elsewhere", "cache_dir=elsewhere", "jobs=1", "checkpoint_seconds=1", "attention=auto"]
)
def test_the_run_id_does_not_change_with_where_and_how_the_run_is_made(change, before):
    (after,) = arms_of(*PI, change)
    assert (before.run, before.base_key, before.extend_key) == (after.run, after.base_key, after.extend_key)


def test_a_file_that_a_method_names_is_part_of_the_run_id(tmp_path):
    lists, line = tmp_path / "lists.json", ["method=longrope", "factor=4", *TINY]
    runs = set()
    for most in (2.0, 3.0):
        lists.write_text(json.dumps({"short_factor": [1.0] * 4, "long_factor": [1.0, 1.0, most, most]}))
        runs |= {arm.run for arm in arms_of(*line, f"method.scaling.file={lists}", *folders(tmp_path))}
    assert len(runs) == 2


def test_runs_that_were_made_before_attention_could_be_chosen_keep_their_id(before):
    (after,) = arms_of(*PI)
    del after.config["attention"]
    assert (before.run, before.extend_key) == (after.run, after.extend_key)


def test_a_factor_that_grows_is_another_run_of_the_same_training_and_of_the_same_run_where_nothing_grows(before):
    dynamic = ["method=dynamic_ntk", *PI[1:]]
    (held,), (unset,), (growing,) = (arms_of(*dynamic, *more) for more in (["grow=false"], [], ["grow=true"]))
    assert held.run == unset.run != growing.run
    assert held.extend_key == growing.extend_key
    (static,) = built_arms_of(*PI, "grow=true")
    assert static.arm.run == before.run
    assert "grow" in static.ignored
    (left_open,) = built_arms_of(*PI, "window=???")
    assert not left_open.ignored
    loop = [*dynamic, "in_loop.every=1"]
    assert arms_of(*loop)[0].extend_key != arms_of(*loop, "grow=true")[0].extend_key


def changed(arm, **config):
    return replace(arm, config=arm.config | config)


def test_keys_of_a_checkpoint_that_is_extended_or_evaluated_change_with_its_data(before):
    bare = changed(before, model=before.config["model"] | {"recipe": None})
    masked = changed(bare, data=bare.config["data"] | {"documents": "masked"})
    other = replace(bare, corpus="another")
    assert len({bare.extend_key, masked.extend_key, other.extend_key}) == 3
    assert len({arm.base_key for arm in (bare, masked, other)}) == 1
    zero_shot = changed(bare, training=None)
    assert replace(zero_shot, corpus="another").run != zero_shot.run


def saved(folder, seed=0):
    """Return the overrides of a checkpoint in a folder, saved with weights of a seed."""
    torch.manual_seed(seed)
    return ["model=hub", f"model.source.name={save_checkpoint(folder / 'model')}"]


def keys(arm):
    return arm.run, arm.base_key, arm.extend_key


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"])
def test_every_file_of_a_model_folder_is_part_of_every_key(file, tmp_path):
    """Weights that are saved anew under the same name are another model, and so is another tokenizer."""
    line = [*saved(tmp_path), *save_documents(tmp_path / "text"), *EVALUATION, "method=pi", "training=finetune"]
    line += [*TRAINING, *folders(tmp_path)]
    (before,) = arms_of(*line)
    (again,) = arms_of(*line)
    assert keys(before) == keys(again)
    path = tmp_path / "model" / file
    if file == "model.safetensors":
        size = path.stat().st_size
        saved(tmp_path, seed=1)
        assert path.stat().st_size == size
    else:
        path.write_text(path.read_text() + " ")
    (after,) = arms_of(*line)
    assert not set(keys(before)) & set(keys(after))


def test_a_model_that_changes_between_plan_and_run_is_refused(tmp_path):
    line = [*saved(tmp_path), *save_documents(tmp_path / "text"), *EVALUATION, *folders(tmp_path)]
    (built,) = built_arms_of(*line)
    saved(tmp_path, seed=1)
    with pytest.raises(ValueError, match="have changed since this run was planned"):
        stages.base(built, lambda *_: None)


def test_a_branch_of_the_hub_is_the_commit_that_it_names_now(tmp_path, monkeypatch):
    """The cache of the hub library holds snapshots by commit, and in refs which of them a branch was last."""
    snapshots = tmp_path / "models--someone--tiny"
    for commit in ("a" * 40, "b" * 40):
        save_checkpoint(snapshots / "snapshots" / commit)
    (snapshots / "refs").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = ["model=hub", "model.source.name=someone/tiny", *save_documents(tmp_path / "text"), *EVALUATION]
    runs = []
    for commit in ("a" * 40, "b" * 40):
        (snapshots / "refs" / "main").write_text(commit)
        (arm,) = arms_of(*line, *folders(tmp_path))
        assert arm.config["model"]["source"]["revision"] == commit
        runs.append(arm.run)
    assert runs[0] != runs[1]


def test_files_of_examples_are_part_of_the_run_id_by_their_contents(before):
    """`contents` holds the hashes of what each part of the configuration names."""
    ids = {replace(before, contents={"evaluation": {"examples.jsonl": hash_of}}).run for hash_of in ("a", "b")}
    assert len(ids) == 2
    for part in ("method", "training"):
        changed = [replace(before, contents={part: {"mine": hash_of}}) for hash_of in ("a", "b")]
        assert len({arm.run for arm in changed}) == len({arm.extend_key for arm in changed}) == 2
        assert len({arm.base_key for arm in changed}) == 1


def test_a_token_is_no_part_of_a_key(before):
    """Who may read a model does not change its numbers."""
    source = before.config["model"]["source"]
    arms = [changed(before, model=before.config["model"] | {"source": source | {"token": one}}) for one in "ab"]
    assert keys(arms[0]) == keys(arms[1])


def test_another_pretraining_length_is_another_run():
    (arm,), (other,) = arms_of(*PI), arms_of(*PI, "pretrain_length=128")
    assert (arm.pretrain_length, other.pretrain_length) == (64, 128)
    assert (arm.train_length, other.train_length) == (128, 256)
    assert other.lengths == [2 * length for length in arm.lengths]
    assert not set(keys(arm)) & set(keys(other))


@pytest.mark.parametrize("change", ["trainer.precision=bf16-mixed", "+trainer.gradient_clip_algorithm=value"])
def test_what_changes_the_numbers_of_training_in_the_trainer_is_part_of_its_keys(change, before):
    (after,) = arms_of(*PI, change)
    assert not set(keys(before)) & set(keys(after))


def test_the_layout_of_the_processes_is_no_part_of_a_key(before):
    (after,) = arms_of(*PI, "trainer.accumulate_grad_batches=2")
    assert keys(before) == keys(after)
