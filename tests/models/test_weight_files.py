"""Weight files: which are read, and that no weight is stored twice, quantized, or outside the folder."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.lab import save_checkpoint

from lcx_lightning.models.clex_checkpoint import read_field
from lcx_lightning.models.sources import HubModel
from lcx_lightning.models.weight_files import weight_files

UP, NORM, HEAD = "model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"
META = {"format": "pt"}


def source(folder):
    return HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)


def add(folder, values):
    save_file(load_file(folder / "model.safetensors") | values, folder / "model.safetensors", metadata=META)


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def shards(folder, second="model-00002-of-00002.safetensors"):
    """Save the weights of a folder in two shards, and return the weights and the content of the index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    first, rest = "model-00001-of-00002.safetensors", {k: v for k, v in weights.items() if k != NORM}
    save_file({NORM: weights[NORM]}, folder / first, metadata=META)
    (folder / second).parent.mkdir(exist_ok=True)
    save_file(rest, folder / second, metadata=META)
    index = {"metadata": {}, "weight_map": dict.fromkeys(rest, second) | {NORM: first}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return weights, index


NO_WEIGHTS = ["int8", "uint8", "int64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("dtype", NO_WEIGHTS)
@pytest.mark.parametrize("in_pickle", [False, True])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path, dtype, in_pickle):
    """transformers casts them, without the scales of a quantized checkpoint."""
    folder = save_checkpoint(tmp_path)
    add(folder, {UP: torch.ones(16, 16).to(getattr(torch, dtype))})
    if in_pickle:
        pickled(folder)
    with pytest.raises(ValueError, match=rf"quantized, or no weights: {UP} in .* has the data type .*Take the unquant"):
        source(folder).load(None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("in_pickle", [False, True])
def test_weights_in_another_precision_are_read(tmp_path, dtype, in_pickle):
    folder = save_checkpoint(tmp_path)
    add(folder, {UP: torch.full((16, 16), 0.5, dtype=getattr(torch, dtype))})
    if in_pickle:
        pickled(folder)
    assert source(folder).load(None).state_dict()[UP].eq(0.5).all()


@pytest.mark.parametrize("value", [{"quant_method": "gptq", "bits": 4}, {"quant_method": "fp8"}, {}, "x"])
def test_a_quantized_checkpoint_is_refused_before_it_is_loaded(tmp_path, value):
    folder = save_checkpoint(tmp_path)
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(held | {"quantization_config": value}))
    with pytest.raises(ValueError, match=r"are quantized \(quantization_config in its config\.json\)"):
        source(folder).config()


@pytest.mark.parametrize("other", ["layers.0.mlp.up_proj.weight", "model.model.layers.0.mlp.up_proj.weight"])
def test_one_weight_under_two_names_is_refused(tmp_path, other):
    folder = save_checkpoint(tmp_path)
    add(folder, {other: torch.zeros(16, 16)})
    with pytest.raises(ValueError, match=r"one weight twice: \S*layers\.0\.mlp\.up_proj\.weight in .*Remove the wrong"):
        source(folder).load(None)


@pytest.mark.parametrize("file", [1, 2])
def test_one_weight_in_two_shards_is_refused(tmp_path, file):
    folder = save_checkpoint(tmp_path)
    weights, _ = shards(folder)
    path = folder / f"model-0000{file}-of-00002.safetensors"
    save_file(load_file(path) | {key: torch.zeros_like(weights[key]) for key in (UP, NORM)}, path, metadata=META)
    with pytest.raises(ValueError, match=r"one weight twice: .* in model-00001-of-00002.* in model-00002-of-00002"):
        source(folder).load(None)


@pytest.mark.parametrize("other", ["my.rotary_emb.proj.weight", "model.rotary_emb.inv_freq.scale", "rotary_emb.bias"])
def test_what_only_looks_like_a_rotary_buffer_is_refused(tmp_path, other):
    folder = save_checkpoint(tmp_path)
    add(folder, {other: torch.ones(3)})
    with pytest.raises(ValueError, match=f"the model has not, {other}"):
        source(folder).load(None)


GOOD = {UP: "model-00001-of-00002.safetensors"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "{}",
        '{"metadata": {}}',
        '{"weight_map": [1], "metadata": {}}',
        '{"weight_map": {}, "metadata": {}}',
        json.dumps({"weight_map": {UP: None}, "metadata": {}}),
        json.dumps({"weight_map": GOOD}),
        json.dumps({"weight_map": GOOD, "metadata": 3}),
    ],
)
def test_an_index_that_is_none_is_refused_by_its_name(tmp_path, text):
    folder = save_checkpoint(tmp_path)
    shards(folder)
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=r"/model\.safetensors\.index\.json (is not JSON|must hold|is no index)"):
        source(folder).load(None)


@pytest.mark.parametrize("place", ["../other.safetensors", "sub/../../other.safetensors", "/tmp/other.safetensors"])
def test_a_shard_outside_the_folder_is_refused(tmp_path, place):
    folder = save_checkpoint(tmp_path / "model")
    _, index = shards(folder)
    index["weight_map"][UP] = place
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"names {place}, a file outside the checkpoint"):
        source(folder).load(None)


def test_a_shard_in_a_subfolder_is_read(tmp_path):
    folder = save_checkpoint(tmp_path)
    weights, _ = shards(folder, "sub/x.safetensors")
    assert source(folder).load(None).state_dict()[UP].equal(weights[UP])
    assert [file.name for file in weight_files(folder)] == ["model-00001-of-00002.safetensors", "x.safetensors"]


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("equal", [True, False])
def test_a_tied_head_that_is_stored_must_equal_the_embeddings(tmp_path, family, equal):
    """One process would take the stored head, several the embeddings."""
    folder = save_checkpoint(tmp_path, family, tie_word_embeddings=True)
    weights = load_file(folder / "model.safetensors")
    (embeddings,) = (weight for name, weight in weights.items() if "embed" in name)
    head = "lm_head.weight"
    add(folder, {head: embeddings.clone() if equal else embeddings + 1})
    if equal:
        assert source(folder).load(None) is not None
        return
    with pytest.raises(ValueError, match=r"beside .* they differ, but its config\.json says tie_word_embeddings=true"):
        source(folder).load(None)


# The field of a released CLEX

ODE = "model.clex_layer.proj_func."
FIELD = {f"{ODE}ode_up_proj": torch.full((4, 16), 0.5), f"{ODE}ode_down_proj": torch.full((16, 4), 0.25)}


@pytest.fixture
def release(tmp_path):
    folder = save_checkpoint(tmp_path)
    add(folder, FIELD)
    held = json.loads((folder / "config.json").read_text())
    clex = {"rope_scaling": {"type": "clex", "max_factor": 16, "param_factor": 2, "act": "tanh"}}
    (folder / "config.json").write_text(json.dumps(held | clex))
    return folder


@pytest.mark.parametrize("other", ["model.layers.0.clex_layer.proj_func.", "zzz.clex_layer.proj_func.", "ode_proj."])
def test_another_field_is_not_taken_for_that_of_the_release(release, other):
    add(release, {f"{other}ode_up_proj": torch.zeros(4, 16)})
    assert read_field(str(release), "main")[0].eq(0.5).all()
    with pytest.raises(ValueError, match=f"the model has not, {other}ode_up_proj"):
        source(release).load(None)


def test_the_field_is_read_from_the_file_that_transformers_reads(release):
    """One file goes before an index of shards."""
    save_file({f"{ODE}ode_up_proj": torch.zeros(4, 16)}, release / "old.safetensors")
    index = {"metadata": {}, "weight_map": {f"{ODE}ode_up_proj": "old.safetensors"}}
    (release / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_field(str(release), "main")[0].eq(0.5).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_a_field_that_is_no_floating_point_number_is_refused(release, dtype):
    add(release, {f"{ODE}ode_up_proj": torch.ones(4, 16).to(dtype)})
    with pytest.raises(ValueError, match=r"ode_up_proj in model\.safetensors has the data type"):
        read_field(str(release), "main")
