"""The bases that come with the package: what they are, what they answer, and what is refused."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from support.base_logits import STORED, logits_of
from support.lab import TINY, arms_of, composed, folders, launch, results, runs
from support.made import made

from experiments.base import main as put_into_package
from lcx_lightning.laboratory import bases
from lcx_lightning.laboratory.byte_pairs import save_byte_pairs
from lcx_lightning.runner.built_arm import resolve

SEEDS = [0, 1, 2]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A copy of the bases, in place of those of the package."""
    folder = tmp_path / "bases"
    shutil.copytree(bases.FOLDER, folder)
    monkeypatch.setattr(bases, "FOLDER", folder)
    bases.about.cache_clear()
    yield folder
    bases.about.cache_clear()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_base_gives_the_logits_that_were_stored_when_it_was_made(seed):
    assert torch.allclose(logits_of(seed), load_file(STORED)[str(seed)], atol=1e-4, rtol=0)


def test_there_is_a_base_for_each_of_three_seeds_of_the_configured_architecture():
    model = composed().model
    assert bases.seeds() == SEEDS
    assert bases.architecture() == dict(model.source.architecture)
    assert bases.about()["recipe"] == {**model.recipe, "schedule": dict(model.recipe.schedule)}
    weights = [bases.load(seed) for seed in SEEDS]
    assert all(weight.dtype == torch.float32 for weight in weights[0].values())
    assert not torch.equal(*(weight["lm_head.weight"] for weight in weights[:2]))


def test_a_base_of_the_package_is_not_trained_and_its_seeds_are_arms_of_one_name(tmp_path):
    arms = arms_of("method=lm_infinite", "seeds=3", *folders(tmp_path))
    assert [arm.config["model"]["recipe"] for arm in arms] == [None] * 3
    assert len({arm.base_key for arm in arms}) == 3
    assert {arm.name for arm in arms} == {"lm_infinite"}


@pytest.mark.parametrize("line", [["model.train=true"], TINY, ["model.source.tokenizer=bytes"]])
def test_another_base_is_trained(line, tmp_path):
    (arm,) = arms_of("method=lm_infinite", *line, *folders(tmp_path))
    assert arm.config["model"]["recipe"]["steps"] > 0
    assert arm.config["model"]["train"]


def test_a_base_does_not_depend_on_whether_its_training_was_asked_for(tmp_path):
    (asked,) = arms_of("method=lm_infinite", "model.train=true", *TINY, *folders(tmp_path))
    (other,) = arms_of("method=lm_infinite", *TINY, *folders(tmp_path))
    assert asked.base_key == other.base_key


def test_a_tokenizer_counts_by_its_contents_and_not_by_its_place(tmp_path):
    for name in ("one", "two"):
        shutil.copytree(bases.TOKENIZER, tmp_path / name)
    text = (tmp_path / "two" / "tokenizer.json").read_text()
    (tmp_path / "two" / "tokenizer.json").write_text(
        text.replace('"individual_digits": true', '"individual_digits": false')
    )
    names = ["laboratory", tmp_path / "one", tmp_path / "two"]
    sizes = ["model.train=true", *folders(tmp_path)]
    arms = [arms_of("method=lm_infinite", f"model.source.tokenizer={name}", *sizes)[0] for name in names]
    assert arms[0].base_key == arms[1].base_key != arms[2].base_key


def test_a_tokenizer_that_is_not_there_is_refused(tmp_path):
    said = refusal(f"model.source.tokenizer={tmp_path / 'none'}")
    assert "tokenizer must be bytes, laboratory or a folder that is there" in said


def refusal(*line):
    with pytest.raises(ValueError) as error:  # noqa: PT011 the text is compared by the caller
        made(composed(*line).model.source).identity(None)
    return str(error.value)


def test_a_seed_without_a_base_is_refused_with_the_seeds_there_are():
    text = refusal("seed=3")
    assert "for the seeds 0, 1, 2, and seed 3 was asked for" in text
    assert "model.train=true" in text


def test_an_installation_without_bases_is_refused(installed):
    shutil.rmtree(installed)
    assert "lacks the bases" in refusal()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_or_missing_file_is_refused(seed, installed):
    path = bases.file_of(seed, installed)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{path} is missing or damaged" in refusal()
    path.unlink()
    assert f"{path} is missing or damaged" in refusal()
    path.write_bytes(whole)
    made(composed().model.source).identity(None)


def test_bases_that_were_not_trained_alike_are_not_put_together(tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file({"a": torch.tensor([1.0, 2.0])}, weights)
    path = bases.put(5, weights, {"architecture": {"a": 1}}, {"torch": "2"}, tmp_path)
    assert load_file(path)["a"].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="differ from the one of seed 6 in architecture"):
        bases.put(6, weights, {"architecture": {"a": 2}}, {"torch": "2"}, tmp_path)
    bases.put(6, weights, {"architecture": {"a": 1}}, {"torch": "3"}, tmp_path)  # made again by another version
    assert sorted(json.loads((tmp_path / "about.json").read_text())["sha256"]) == ["5", "6"]


@pytest.mark.slow
def test_the_bases_of_an_experiment_go_into_the_package(tmp_path):
    sizes = [*TINY, "evaluation.passkey.trials=1", "evaluation.passkey.depths=[0]", "seeds=2", "jobs=1"]
    ran = launch("+exp=base", "arms=['method=pretrained']", *sizes, *folders(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert put_into_package([str(results(tmp_path)), "--to", str(tmp_path / "kept")]) == 0
    (run, _) = runs(results(tmp_path)).values()
    made_one = load_file(tmp_path / "cache" / run.info["checkpoint"]["base"] / "model.safetensors")
    kept = load_file(bases.file_of(run.info["seed"], tmp_path / "kept"))
    assert kept.keys() == made_one.keys()
    assert all(torch.equal(kept[name], made_one[name].to(torch.bfloat16)) for name in kept)
    assert bases.about(tmp_path / "kept")["corpus"] == run.info["corpus"]


@pytest.mark.slow
def test_the_tokenizer_of_the_laboratory_is_made_again_to_the_byte(tmp_path):
    save_byte_pairs(made(composed("data=sympy").data.corpus), composed().model.source.architecture.vocab_size, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (bases.TOKENIZER / "tokenizer.json").read_bytes()


def test_a_recipe_of_an_experiment_that_a_base_was_not_trained_by_is_refused():
    config = composed("method=lm_infinite")
    OmegaConf.update(config, "model.recipe.steps", 13000)
    with pytest.raises(ValueError, match=r"recipe\.steps=13000 would change nothing: the model comes pretrained"):
        next(resolve(config, [0]))
