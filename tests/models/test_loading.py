"""Weights of checkpoints: all of them, no others, and finite; what is damaged is refused by a sentence."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.lab import save_checkpoint
from support.trainable_model import FROM_BYTES
from transformers import AutoModelForCausalLM

from lcx_lightning.models.loading import load_weights
from lcx_lightning.models.sources import EmbeddedModel, HubModel

UP, NORM = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
ARCHITECTURE = {"model_type": "llama"}  # of no account when a folder is loaded


@pytest.fixture
def folder(tmp_path):
    return save_checkpoint(tmp_path)


def edit(folder, change):
    """Change the weights of a checkpoint."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def hub(folder):
    return HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True).load(None)


def base(folder):
    return EmbeddedModel(architecture=ARCHITECTURE, **FROM_BYTES).load(folder)


LACKS = (lambda w: w.pop(UP), rf"they lack {UP}\. Nothing is filled with random numbers")
OTHER_SHAPE = (lambda w: w.update({UP: torch.zeros(3, 5)}), rf"another shape of {UP} \[3, 5\] for \[16, 16\]\. Nothing")
TOO_MANY = (lambda w: w.update({"v_head.weight": torch.zeros(3)}), r"the model has not, v_head\.weight\. Nothing")
NOT_FINITE = (lambda w: w[NORM].fill_(float("nan")), rf"are not finite in {NORM}: .*Take a checkpoint from before")
INFINITE = (lambda w: w[UP][2, 3:4].fill_(float("-inf")), f"are not finite in {UP}")
MANY = (lambda w: [w.pop(name) for name in [*w] if "layers.0" in name], r"they lack (\S+, ){2}\S+ and 6 more\.")


@pytest.mark.parametrize(
    ("change", "said"),
    [LACKS, OTHER_SHAPE, TOO_MANY, NOT_FINITE, INFINITE, MANY],
    ids=["lacks one", "other shape", "one too many", "nan", "infinite", "lacks many"],
)
@pytest.mark.parametrize("load", [hub, base])
def test_weights_that_are_not_those_of_the_model_are_refused(folder, load, change, said):
    """As a checkpoint of the hub, and as a base from the cache."""
    edit(folder, change)
    with pytest.raises(ValueError, match=f"weights of {folder} .*{said}"):
        load(folder)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma"])
def test_a_head_that_is_tied_to_the_embeddings_is_not_missed(tmp_path, family):
    folder = save_checkpoint(tmp_path, family, tie_word_embeddings=True)
    assert len(load_file(folder / "model.safetensors")) < len(hub(folder).state_dict())


@pytest.mark.parametrize(
    ("family", "left_over"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("llama", "model.layers.0.self_attn.rotary_emb.cos_cached"),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.masked_bias"),
    ],
)
def test_buffers_of_old_checkpoints_are_not_too_many(tmp_path, family, left_over):
    folder = save_checkpoint(tmp_path, family)
    edit(folder, lambda w: w.update({left_over: torch.ones(4)}))
    assert hub(folder) is not None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_sound_weights_are_loaded_as_transformers_loads_them(folder, dtype):
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).state_dict()
    found = HubModel(name=str(folder), revision="main", dtype=dtype, own_scaling=True).load(None).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in found.items())


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def garbage(folder):
    (folder / "model.safetensors").write_bytes(b"<html>404 not found</html>")


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def pickled(folder, size):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    held = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(held[: int(size * len(held))])


def lost_shard(folder):
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {NORM: "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "damage",
    [cut, garbage, empty, lambda f: pickled(f, 0.5), lambda f: pickled(f, 0.99), lambda f: pickled(f, 0), lost_shard],
    ids=["cut", "no safetensors", "empty", "half a pickle", "most of a pickle", "no pickle", "a lost shard"],
)
def test_files_that_are_damaged_or_lost_are_refused_by_name(folder, damage):
    damage(folder)
    with pytest.raises(ValueError, match=f"weights of {folder} cannot be read: .*copy it again"):
        load_weights(folder)


class Command:
    """What a pickle runs when it is read."""

    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_a_pickle_runs_nothing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Command()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be read: .*Of pickles .* only tensors are read"):
        load_weights(folder)
    assert not (folder / "made_by_a_pickle").exists()
