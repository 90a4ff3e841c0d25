"""Configurations: every file of every group composes and builds, command lines mean what they say."""

from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.gguf_files import TOKENS, write_gguf
from support.lab import EVALUATION, TINY, TRAINING, arms_of, composed, folders, save_checkpoint, save_documents
from support.made import made
from support.pairs import a_few

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import Evaluation
from lcx_lightning.evaluation.perplexity.streaming import Streaming
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.methods.library import build_method, complete, methods, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import ModelSource, skeleton
from lcx_lightning.runner.hardware import hardware_of, table
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.runner.trainer_config import TrainerSettings

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "experiments" / "configs"
GROUPS = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
AGAIN = {"multiples": "[2]", "last": 16, "windows": 2, "split": "test", "seed": 0, "batch_tokens": 4096}


def choices(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def whole(config):
    """Return the configuration with a method of four parts, for a model of 64 tokens."""
    OmegaConf.set_struct(config, False)
    config.pretrain_length, config.method = 64, complete(config.method)
    return config


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Overrides that name a tiny checkpoint and documents on this machine."""
    folder = tmp_path_factory.mktemp("local")
    model = ["model=hub", f"model.source.name={save_checkpoint(folder / 'model')}"]
    return {"model": model, "data": save_documents(folder / "data")}


def test_every_group_is_known_to_these_tests():
    names = ["data", "evaluation", "exp", "hardware", "launch", "logger", "model", "recipe", "trainer", "training"]
    assert names == GROUPS


@pytest.mark.parametrize("name", [name for name in choices("model") if name != "smollm2"])  # that one: test_gguf
def test_every_model_file_builds_a_source_of_a_supported_model(name, local, tiny, tmp_path):
    words = [f"model={name}", *folders(tmp_path)]
    if name in ("hub", "llama_7b", "llama_2_7b"):
        words.append(local["model"][1])
    if name == "gguf":
        llama = tiny(vocab_size=len(TOKENS), bos_token_id=0, eos_token_id=1)
        words.append(f"model.source.file={write_gguf(tmp_path / 'tiny.gguf', llama)}")
    config = composed(*words)
    source = made(config.model.source)
    assert isinstance(source, ModelSource)
    assert source.tokens().vocab_size <= source.config().vocab_size
    assert rope_spec(source.config()).pretrain_length == source.config().max_position_embeddings


@pytest.mark.parametrize("name", ["hub", "stdlib"])  # those of one repository each: test_presets
def test_every_data_file_builds_data_with_text_in_every_split(name, local):
    config = composed(*(local["data"] if name == "hub" else [f"data={name}"]), *local["model"])
    tokens = made(config.model.source).tokens()
    data = LongContextData(made(config.data.corpus), tokens, config.data.mixture)
    assert all(data.corpus.documents(split) for split in ("train", "validation", "test"))


@pytest.mark.parametrize("name", choices("training"))
def test_every_training_file_builds_an_optimizer_for_every_parameter_that_learns(name):
    config = whole(composed("method=clex", f"training={name}"))
    if config.training.get("zero_shot"):
        assert name == "none"
        return
    architecture = made(config.model.source).config()
    model = attach(skeleton(architecture), build_method(config.method, rope_spec(architecture)))
    optimizer = made(config.training.optimizer)(model)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", choices("evaluation"))
def test_every_evaluation_file_builds_an_evaluation(name):
    chosen = made(composed(f"evaluation={name}").evaluation)
    assert list(chosen) == [name]
    assert isinstance(chosen[name], Evaluation)
    assert chosen[name].lengths(64) == sorted(chosen[name].lengths(64))


def test_a_list_of_evaluations_is_one_after_the_other(data):
    chosen = made(composed("evaluation=[streaming,growing_context]", "evaluation.streaming.multiples=[1,3]").evaluation)
    both, short = EvaluationSuite(chosen), chosen["streaming"].lengths(64)
    assert both.lengths(64) == sorted({*short, *chosen["growing_context"].lengths(64)})
    small = EvaluationSuite(
        {"one": Streaming(multiples=[1], windows=1, split="test", seed=0, chunk=32), "left out": {"windows": 3}}
    )
    (unit,) = small.work_units(data, 64, None)
    assert unit.rows[0]["evaluation"] == "streaming"
    assert unit.reads == [(1, 64, 1, 32)]
    assert both.metrics().keys() == {"streaming/nll", "last_k/nll", "whole_window/nll"}


def test_an_arm_whose_records_could_not_be_told_apart_is_refused():
    twice = ["+evaluation.again._target_=lcx_lightning.evaluation.GrowingContext"]
    twice += [f"+evaluation.again.{name}={value}" for name, value in AGAIN.items()]
    with pytest.raises(ValueError, match="would have two numbers for"):
        arms_of("method=yarn", "factor=4", *TINY, *twice)


def test_an_arm_without_an_evaluation_is_refused():
    with pytest.raises(ValueError, match="choose one with evaluation=NAME"):
        EvaluationSuite({"left out": {"windows": 3}})


def trainer(name):
    """Return the overrides that choose a trainer, with a single device where it leaves the number open."""
    chosen = f"trainer={name}"
    return [chosen, *(f"{key}=1" for key in OmegaConf.missing_keys(composed(chosen).trainer))]


@pytest.mark.parametrize("name", choices("trainer"))
def test_every_trainer_file_builds_a_trainer(name):
    config = OmegaConf.to_container(composed(*trainer(name)).trainer) | {
        "accelerator": "cpu"
    }  # which every machine has
    built = TrainerSettings.read(config).idle_trainer()
    assert built.num_devices == config["devices"]
    assert built.precision == config["precision"]


@pytest.mark.parametrize("name", choices("trainer"))
def test_a_trainer_is_refused_before_anything_starts_on_a_machine_without_its_devices(name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    line = ["method=lm_infinite", *trainer(name), *TINY, *folders(tmp_path)]
    if composed(*line).trainer.accelerator != "cpu":
        with pytest.raises(ValueError, match=r"cannot run accelerator=.* with devices=1: .* Choose another trainer"):
            arms_of(*line)
    else:
        assert len(arms_of(*line)) == 1


@pytest.mark.parametrize("name", choices("hardware"))
def test_every_hardware_file_has_what_a_forecast_counts_with_and_reads_the_same_without_hydra(name):
    config = OmegaConf.to_container(composed(f"hardware={name}").hardware)
    assert config == table()[name]
    assert hardware_of(config, "cpu").flops > 1e9
    assert (config["peak"] is None) == (config["memory"] is None) == (name == "auto")


@pytest.mark.parametrize("name", choices("logger"))
def test_every_logger_file_is_no_logger_or_one_of_a_run(name):
    config = composed(f"logger={name}").logger
    assert config is None or {"_target_", "folder", "mode"} <= set(config)


IN_PLACE_OF_LARGE = ["model=embedded", "data=sympy", "trainer=cpu"]


@pytest.mark.parametrize("name", a_few(choices("exp"), 2))
def test_every_experiment_builds_all_of_its_arms_as_it_stands(name, tmp_path):
    config = composed(f"+exp={name}")
    assert config.experiment == name
    line = [f"+exp={name}", *folders(tmp_path)]
    if "architecture" not in config.model.source:
        length = 8192 if config.lengths else 2048  # tokens: lengths are chosen for SmolLM2's L
        line += [*IN_PLACE_OF_LARGE, f"model.source.architecture.max_position_embeddings={length}"]
    arms = arms_of(*line)
    names = {(arm.name, arm.seed) for arm in arms}
    assert len(names) == len({arm.run for arm in arms}) == len(arms)
    assert {arm.order for arm in arms} == {*range(len({arm.name for arm in arms}))}
    assert len({arm.base_key for arm in arms}) == config.seeds
    assert not any(arm.equals_pretrained for arm in arms)
    for arm in arms:
        if arm.config["training"]:
            assert Recipe.read(arm.config["training"], arm.config["pretrain_length"], "training").steps > 0


@pytest.mark.slow
def test_overrides_of_the_command_line_win_over_those_of_the_arms(tmp_path):
    arms = arms_of("+exp=quickstart", "method=pi", *TINY, *TRAINING, *folders(tmp_path))
    assert {tuple(arm.methods) for arm in arms} == {("pi",)}
    settings = {str([arm.config[name] for name in ("training", "factor", "train_factor")]) for arm in arms}
    assert len(settings) == len({arm.name for arm in arms}) == len({arm.run for arm in arms}) == len(arms)


def test_a_list_of_methods_is_one_arm_named_after_all_of_them(tmp_path):
    (arm,) = arms_of("method=[clex,lm_infinite]", "factor=4", *TINY, *folders(tmp_path))
    assert (arm.name, arm.methods) == ("clex+lm_infinite", ["clex", "lm_infinite"])
    clex, lm_infinite = read_method("clex"), read_method("lm_infinite")
    assert arm.config["method"]["scaling"]["_target_"] == clex.scaling["_target_"]
    assert arm.config["method"]["pattern"]["_target_"] == lm_infinite.pattern["_target_"]
    assert "clex+lm_infinite-s0-" in arm.folder.name


def test_a_list_of_methods_stands_beside_single_ones_in_the_arms_of_a_grid(tmp_path):
    grid = ["arms=['method=pretrained,lm_infinite','method=[yarn,lm_infinite]']", *TINY, *folders(tmp_path)]
    assert [arm.name for arm in arms_of(*grid)] == ["pretrained", "lm_infinite", "yarn+lm_infinite"]


def test_an_arm_is_evaluated_as_far_as_positions_and_pattern_both_reach(tmp_path):
    """L = 64 and a window of 16: (64 - 16) * 2 + 16 = 112 and (64 - 16) * 5 + 16 = 256 tokens."""
    sizes = [
        "evaluation.growing_context.multiples=[1,2,4,8]",
        *TINY[: -len(EVALUATION)],
        *EVALUATION[:2],
        *folders(tmp_path),
    ]
    for method, settings, lengths, max_context in (
        ("self_extend", ["method.pattern.group=2"], [64], 112),
        ("self_extend", ["factor=4", "method.pattern.group.trained_share=1"], [64, 128, 256], 256),
        ("self_extend", ["factor=2"], [64, 128, 256], 256),
        ("clex_self_extend", ["factor=4", "method.pattern.group=100"], [64, 128, 256], 256),
        ("clex_self_extend", ["factor=8", "method.pattern.group=5"], [64, 128, 256], 256),
    ):
        (arm,) = arms_of(f"method={method}", *settings, *sizes)
        assert arm.lengths == lengths
        assert set(arm.not_evaluated.values()) == {f"beyond its reach, {max_context} tokens"}


def test_a_size_that_is_a_share_of_pretraining_may_be_given_in_tokens(tmp_path):
    (arm,) = arms_of("method=self_extend", "method.pattern.window=32", "factor=4", *TINY, *folders(tmp_path))
    assert arm.config["method"]["pattern"]["window"] == 32
    sizes = {"factor": 4, "train_factor": 4, "pretrain_length": 64}
    method = OmegaConf.create(sizes | {"method": arm.config["method"]}).method
    pattern = build_method(method, rope_spec(made(arm.config["model"]["source"]).config())).pattern
    assert (pattern.window, pattern.group) == (32, 21)  # (4 * 64 - 32) / (0.667 * 64 - 32) = 20.95


@pytest.mark.slow
def test_training_values_on_the_command_line_reach_the_arms_that_train_and_no_others(tmp_path):
    arms = {arm.name: arm for arm in arms_of("+exp=quickstart", *TINY, *TRAINING, *folders(tmp_path))}
    steps = {name: arm.config["training"] and arm.config["training"]["steps"] for name, arm in arms.items()}
    assert steps["pretrained"] is None
    assert steps["lm_infinite"] is None
    assert steps["pi"] == steps["clex"] == 2
    more = arms_of("+exp=quickstart", *TINY, *TRAINING, "training.steps=3", *folders(tmp_path))
    changed = {arm.name for arm in more if arm.run != arms[arm.name].run}
    assert changed == {name for name, arm in arms.items() if arm.config["training"]}


def test_the_arms_of_one_seed_share_their_base_and_other_seeds_have_others(tmp_path):
    arms = arms_of("method=lm_infinite", "seeds=3", *TINY, *folders(tmp_path))
    assert [arm.seed for arm in arms] == [0, 1, 2]
    assert len({arm.base_key for arm in arms}) == 3
    other = arms_of("method=pi", "seeds=3", *TINY, *folders(tmp_path))
    assert [arm.base_key for arm in arms] == [arm.base_key for arm in other]


def test_a_checkpoint_is_the_base_of_every_seed(local, tmp_path):
    arms = arms_of("method=lm_infinite", "seeds=2", *local["model"], *local["data"], *EVALUATION, *folders(tmp_path))
    assert arms[0].base_key == arms[1].base_key
    assert arms[0].run != arms[1].run


@pytest.mark.parametrize("name", methods())
def test_every_method_is_composed_by_hydra_as_the_library_reads_it(name):
    config = whole(composed(f"method={name}"))
    sizes = {key: config[key] for key in ("factor", "train_factor", "pretrain_length")}
    read = OmegaConf.create(sizes | {"method": read_method(name)})
    built, known = (OmegaConf.to_container(method, resolve=True) for method in (config.method, read.method))
    assert built == known


def test_the_quick_start_is_built_from_overrides_that_hydra_can_parse():
    parser = OverridesParser.create()
    for name in choices("exp"):
        for line in composed(f"+exp={name}").arms:
            assert all(override.key_or_group for override in parser.parse_overrides(line.split()))
