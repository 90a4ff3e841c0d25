"""Every value of every group is obeyed or refused: another one changes a key, what is made of it, or is a sentence."""

from unittest import mock

import pytest
import wandb
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, ListConfig, OmegaConf
from support.gguf_files import TOKENS, write_gguf
from support.lab import ROOT, TINY, composed, folders, save_checkpoint
from support.tiny_models import TINY as TINY_SIZES
from transformers import AutoConfig, AutoModelForCausalLM

from lcx_lightning.results.logged import Label, NewRun
from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.hardware import hardware_of
from lcx_lightning.runner.launch.base import Launcher
from lcx_lightning.schema.build import build as build_object

CONFIGS = ROOT / "experiments" / "configs"
IN_WORDS = {  # another value of those that are no numbers, by the last part of their keys
    "split": "validation",
    "documents": "whole",
    "precision": "64-true",
    "accelerator": "gpu",
    "dtype": "bfloat16",
    "mode": "online",
    "cluster": "moon",
    "cut": "end_of_context",
    "targets": "linear",
    "model_type": "mistral",
    "hidden_size": 64,
    "column": "x",
    "where": "x",
    "shots": 1,
    "examples": 3,
}


ELSEWHERE = (
    *("hardware.device", "hardware.core", "hardware.mfu"),  # a forecast for a CPU needs none of a GPU's
    "model.source.cache",  # where a checkpoint is kept, and no number
)


def leaves(node, prefix):
    """Yield the key and the value of every leaf of a configuration; a list is one. Of tasks the first has all keys."""
    for name in list(node)[: 1 if prefix.endswith(".tasks") else None]:
        key = f"{prefix}.{name}"
        value = node._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation() and len(value):
            yield from leaves(value, key)
        elif name not in ("_target_", "_partial_") and key not in ELSEWHERE:
            yield key, None if OmegaConf.is_missing(node, name) else node[name]


def another(key, value):
    """Return a value like the given one, and not the same."""
    name = key.rpartition(".")[2]
    if name in IN_WORDS and (value is None or isinstance(value, str) or name == "hidden_size"):
        return IN_WORDS[name] if IN_WORDS[name] != value else f"{value}x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.75 or 0.25
    if isinstance(value, ListConfig):
        plain = OmegaConf.to_container(value)
        return [*plain[:-1], another(key, plain[-1])] if plain else [1]
    return 3 if value is None else f"{value}x"


def made_of(line):
    """Return all that a command line decides: keys of the run, and how and where it is computed."""
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run", line)
        arms = build(config, expand(config, line))
    arm = arms[0].arm
    seen = [arm.run, arm.base_key, arm.extend_key, arm.fingerprint, arm.trainer]
    seen.append(hardware_of(arm.config["hardware"], "cpu"))
    launcher: Launcher = build_object(config.launch, "launch")
    seen.append({name: value for name, value in vars(launcher).items() if not callable(value) and name != "_events"})
    if arm.config["logger"]:
        with mock.patch.object(wandb, "init") as init, mock.patch.dict("os.environ", {"WANDB_API_KEY": "0" * 40}):
            new = NewRun("r", Label("n", "zero-shot", []), "g", {}, leads=False, on_stop=lambda: None)
            build_object(arm.config["logger"] | {"mode": "offline"}, "logger", new=new)
            seen.append([init.call_args.kwargs[name] for name in ("project", "entity", "dir")])
        seen.append(arm.config["logger"]["mode"])
    return [str(one) for one in seen]


def choices():
    """Return the choices of all groups, but for those that are others with other values, whose keys are the same."""
    groups = ("model", "data", "training", "evaluation", "trainer", "launch", "hardware")
    found = [(group, path.stem) for group in groups for path in sorted((CONFIGS / group).glob("*.yaml"))]
    found.remove(("model", "smollm2"))  # it needs the hub or a package: tests/models/test_gguf.py
    found = [one for one in found if "defaults:" not in (CONFIGS / one[0] / f"{one[1]}.yaml").read_text()]
    return [*found, ("logger", "wandb"), ("training/lora", "default"), ("training/lora", "longlora")]


def tiny_llama():
    sizes = TINY_SIZES | {"vocab_size": len(TOKENS), "bos_token_id": 0, "eos_token_id": 1}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes))


def named(key, refusal):
    return key.rpartition(".")[2] in str(refusal)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), choices(), ids=lambda one: one)
def test_another_value_changes_a_key_or_what_is_made_or_is_refused(group, name, tmp_path):
    tiny = [word for word in TINY if not word.startswith("model" if group == "model" and name != "embedded" else group)]
    line = [*tiny, "method=pi", "training=finetune", *folders(tmp_path)]
    line += [f"model.source.name={save_checkpoint(tmp_path / 'model')}"] if (group, name) == ("model", "hub") else []
    if (group, name) == ("model", "gguf"):
        line += [f"model.source.file={write_gguf(tmp_path / 'model.gguf', tiny_llama())}"]
    line += ["data.corpus.load.path=books.jsonl"] if (group, name) == ("data", "hub") else []
    line += ["dry_run=forecast"] if group == "hardware" else []
    line += ["trainer.devices=1"] if (group, name) == ("trainer", "fsdp") else []
    line += [f"{group}={name}", *(["launch.cluster=local"] if name == "slurm" else [])]
    (tmp_path / "books.jsonl").write_text('{"text": "once"}\n')
    part = composed(*line)
    for inner in group.split("/"):
        part = part[inner]
    part = part[name] if group == "evaluation" and name in part else part
    prefix = f"{group.replace('/', '.')}{f'.{name}' if group == 'evaluation' else ''}"
    before, idle = made_of(line), []
    for key, value in leaves(part, prefix):
        other = another(key, value)
        word = f"{key}='{other}'" if isinstance(other, str) else f"{key}={'null' if other is None else other}"
        try:
            if made_of([*line, word]) == before:
                idle.append(word)
        except ValueError as refusal:
            idle += [] if named(key, refusal) else [f"{word}: {refusal}"]
    assert not idle, f"{group}={name} has values that are neither obeyed nor refused by name: {idle}"
