"""The id of a run and the keys of its stages: they change with what the numbers depend on, and with nothing else."""

import json
from dataclasses import replace

import pytest
from support.lab import TINY, TRAINING, arms_of, folders

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


@pytest.mark.parametrize("name", ["path", "data_files"])
def test_files_of_examples_are_part_of_the_run_id_by_their_contents_and_prompts_are_no_files(before, name, tmp_path):
    file, runs = tmp_path / "folder" / "examples.jsonl", []
    file.parent.mkdir()
    for text in ("a", "b"):
        file.write_text(text)
        source = {name: str(file.parent) if name == "path" else [str(file)]}
        arm = changed(before, evaluation={"tasks": {"source": source, "prompt": f"Read. {'long ' * 70}/"}})
        runs.append(arm.run)
    assert runs[0] != runs[1]
