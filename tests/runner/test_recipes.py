"""Recipes: methods with the training and the rates that were chosen for them, as one word of a command line."""

import pytest
from support.lab import ROOT, TINY, TRAINING, arms_of, composed, folders

RECIPES = sorted(path.stem for path in (ROOT / "experiments" / "configs" / "recipe").glob("*.yaml"))
EVERY = "arms=[" + ",".join(f"'recipe={name}'" for name in RECIPES) + "]"


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """The arm of every recipe, by the recipe's name."""
    found = arms_of(EVERY, *TINY, *TRAINING, *folders(tmp_path_factory.mktemp("recipes")))
    return dict(zip(RECIPES, found, strict=True))


def test_every_recipe_is_a_run_of_its_own(arms):
    assert len({arm.run for arm in arms.values()}) == len(RECIPES)
    assert {name: arm.methods for name, arm in arms.items() if arm.methods != [name]} == {"direct": ["pretrained"]}


def test_recipes_are_the_arms_of_the_quickstart_and_direct_fine_tuning(arms, tmp_path):
    quickstart = {arm.run for arm in arms_of("+exp=quickstart", *TINY, *TRAINING, *folders(tmp_path))}
    assert {name for name, arm in arms.items() if arm.run not in quickstart} == {"direct"}
    assert len(quickstart) == len(RECIPES) - 1


def test_what_a_command_line_sets_wins_over_its_recipe():
    config = composed("recipe=clex", "factor=4", "training.optimizer.lr=0.5", "training=finetune")
    assert (config.factor, config.train_factor) == (4, 2)
    assert config.training.optimizer.lr == 0.5
    assert config.method.scaling["_target_"] == composed("method=clex").method.scaling["_target_"]


def test_a_recipe_on_the_command_line_takes_the_place_of_methods_and_training_in_arms(tmp_path):
    lines = "arms=['method=pi,yarn training=finetune method.scaling.fast=8','method=lm_infinite window=16']"
    many = [*TINY, *TRAINING, *folders(tmp_path)]
    arms = arms_of(lines, "recipe=yarn", *many)
    (alone,) = arms_of("recipe=yarn", *many)
    assert [arm.run for arm in arms] == [alone.run]


def test_values_of_training_are_ignored_in_a_zero_shot_cell_of_a_sweep_and_refused_in_a_command(tmp_path, monkeypatch):
    line = ["recipe=lm_infinite", *TRAINING, *TINY, *folders(tmp_path)]
    with pytest.raises(ValueError, match="would change nothing: no arm is trained"):
        arms_of(*line)
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert len(arms_of(*line)) == 1
