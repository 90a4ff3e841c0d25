"""Configs of checkpoints: plain data, from which no code is run and no environment is read."""

import io
import json

import pytest
from support.lab import EVALUATION, built_arms_of, folders, save_checkpoint, save_documents
from transformers import LlamaForCausalLM

from lcx_lightning.methods.library import read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.clex_checkpoint import with_own_clex
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import HubModel, skeleton

CODE = "from pathlib import Path\nPath(__file__).with_name('it_ran').touch()\n"
CLEX = {"type": "clex", "max_factor": 16, "param_factor": 2, "act": "tanh"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint with Python files beside it, and somebody who says yes to every question."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    save_checkpoint(tmp_path / "model")
    (tmp_path / "model" / "own.py").write_text(CODE)
    return tmp_path / "model"


def change(folder, file="config.json", values=None, **more):
    held = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(held | (values or {}) | more))


def source(folder):
    return HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)


def ran(folder):
    return [*folder.parent.rglob("it_ran")]


# Code that comes with a checkpoint


def test_a_model_of_a_type_of_its_own_is_refused_and_its_code_is_not_run(folder):
    change(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})
    with pytest.raises(ValueError, match=r"model_type='own', and its config\.json names Python code .* never run"):
        source(folder).config()
    assert not ran(folder)


@pytest.mark.parametrize("kind", ["own", None, ["llama"], 7])
def test_a_type_that_transformers_does_not_know_is_refused(folder, kind):
    change(folder, model_type=kind)
    with pytest.raises(ValueError, match=r"transformers does not know this type.*Convert .* llama, mistral"):
        source(folder).config()


def test_a_known_type_is_built_by_the_code_of_transformers(folder):
    change(folder, auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})
    assert type(source(folder).load(None)) is type(skeleton(source(folder).config())) is LlamaForCausalLM
    assert not ran(folder)


def test_a_tokenizer_with_code_of_its_own_is_refused(folder):
    change(folder, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    with pytest.raises(ValueError, match=r"tokenizer of .* needs Python code .* is never run\. Save it"):
        source(folder).tokens()
    assert not ran(folder)


def test_code_for_generation_is_not_run(folder):
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE + "def generate(model, *_, **__): ...\n")
    assert "generate" not in vars(source(folder).load(None))
    assert not ran(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_code_for_attention_is_not_taken_from_the_hub(folder, key):
    change(folder, values={key: "somebody/kernel"})
    assert source(folder).load(None).config._attn_implementation == "sdpa"


def test_an_adapter_is_refused_where_its_base_would_be_loaded(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder.parent / "other")}))
    with pytest.raises(ValueError, match=r"holds an adapter .*Merge it into its base first"):
        source(folder).config()


# Numbers that are none


@pytest.mark.parametrize(
    "value",
    [{"_target_": "os.system", "command": "x"}, "${oc.env:HOME}", "16", [16], None, True, 0, -1, 1.5, float("nan")],
)
@pytest.mark.parametrize("key", ["max_factor", "param_factor"])
def test_a_clex_whose_settings_are_no_numbers_is_refused(folder, key, value):
    change(folder, rope_scaling=CLEX | {key: value})
    with pytest.raises(ValueError, match=rf"{key} in the model's config must be (a (whole )?number|finite)"):
        source(folder).config()


@pytest.mark.parametrize("lacks", ["max_factor", "param_factor"])
def test_a_clex_that_lacks_a_setting_is_refused(folder, lacks):
    change(folder, rope_scaling={key: value for key, value in CLEX.items() if key != lacks})
    with pytest.raises(ValueError, match=rf"{lacks} in the model's config must be a number .*got None"):
        source(folder).config()


@pytest.mark.parametrize("value", [{"_target_": "os.system"}, ["tanh"], "${oc.env:HOME}", 1])
def test_an_activation_or_a_log_scale_that_is_something_else_is_refused(folder, value):
    change(folder, rope_scaling=CLEX | {"act": value})
    with pytest.raises(ValueError, match="A released CLEX has the activation tanh or silu"):
        source(folder).config()
    change(folder, rope_scaling=CLEX, log_scale=value)
    with pytest.raises(ValueError, match=r"log_scale in the model's config must be true or false"):
        source(folder).config()


def test_what_a_released_clex_puts_into_a_method_is_numbers_and_the_name_of_an_activation(folder):
    change(folder, rope_scaling=CLEX)
    method = with_own_clex(read_method("clex"), source(folder).config())
    assert type(method.scaling.width) is int
    assert type(method.positions.max_factor) is int
    assert type(method.scaling.activation) is str


OWN = {"width": 2, "activation": "tanh", "max_factor": 4, "log_scale": False, "name": "x", "revision": "main"}


def test_a_config_that_imitates_our_own_key_for_a_clex_has_none(folder):
    change(folder, clex=OWN | {"max_factor": {"_target_": "os.system"}})
    assert not hasattr(source(folder).config(), "clex")


@pytest.mark.parametrize("key", ["width", "max_factor", "activation", "log_scale"])
def test_a_model_that_was_loaded_without_us_has_its_settings_checked(folder, key):
    change(folder, clex=OWN | {key: {"_target_": "os.mkdir", "path": str(folder / "made")}})
    model = LlamaForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match=rf"{key}.*got|this one"):
        attach(model, "clex", factor=2)
    assert not (folder / "made").exists()


@pytest.mark.parametrize("key", ["max_position_embeddings", "hidden_size", "vocab_size"])
def test_an_interpolation_in_a_config_reads_no_environment(folder, key, monkeypatch):
    monkeypatch.setenv("SECRET", "64")
    change(folder, values={key: "${oc.env:SECRET}"})
    with pytest.raises(ValueError, match=key):
        rope_spec(source(folder).config())


def test_the_command_line_builds_nothing_that_a_checkpoint_names(folder, tmp_path):
    made = tmp_path / "made"
    change(folder, rope_scaling=CLEX | {"max_factor": {"_target_": "os.mkdir", "path": str(made)}})
    line = ["model=hub", f"model.source.name={folder}", *save_documents(tmp_path / "documents"), "method=clex"]
    line += ["dry_run=fingerprint", *EVALUATION, *folders(tmp_path)]
    with pytest.raises(ValueError, match=r"max_factor in the model's config must be a number"):
        built_arms_of(*line)
    assert not made.exists()


# Folders and names


@pytest.mark.parametrize("name", ["/no/such", "./no", "no/such/folder", "~/no", "../no"])
def test_a_folder_that_does_not_exist_is_refused_as_a_folder(name):
    with pytest.raises(ValueError, match=rf"model\.source\.name={name} does not exist: give the folder that holds"):
        source(name).config()


def test_a_file_in_place_of_a_folder_is_refused(folder):
    with pytest.raises(ValueError, match=r"config\.json is a file: give the folder"):
        source(folder / "config.json").config()


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("config.json", r"has no config\.json: give"),
        ("model.safetensors", "has no weights: no file that ends in"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_before_anything_runs(folder, lost, said):
    (folder / lost).unlink()
    with pytest.raises(ValueError, match=said):
        source(folder).config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", r"must hold a mapping, got \[1\]"),
        ("\ufeff{}", "is not JSON"),
        ('{"a": 1, "a": 2}', "is not JSON: it has the key 'a' twice"),
        ("[" * 9999 + "]" * 9999, "is not JSON: it is nested too deeply"),
    ],
)
def test_a_config_that_is_no_mapping_is_refused(folder, text, said):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"{folder}/config\.json {said}"):
        source(folder).config()


@pytest.mark.parametrize("dtype", ["bf16", "nn", "int8", "Tensor", "FLOAT32", "", "torch.float16"])
def test_a_dtype_that_is_none_is_refused_with_what_to_write(dtype):
    meant = {"bf16": r"Write bfloat16\.", "torch.float16": r"Write float16\."}.get(dtype, "Choose float32, bfloat16")
    with pytest.raises(ValueError, match=rf"model\.source\.dtype={dtype} is no data type of weights\. {meant}"):
        HubModel(name="x", revision="main", dtype=dtype, own_scaling=True)


# Scalings by other names

LISTS = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 1.1, 1.3, 1.6]}
SU = {"model_type": "phi3", "pad_token_id": 0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize("key", ["type", "rope_type"])
@pytest.mark.parametrize("phi3", [False, True], ids=["llama", "phi3"])
def test_su_is_the_old_name_of_longrope(folder, tmp_path, key, phi3):
    """As in the first release of Phi-3-mini-128k, with the original length outside the scaling."""
    values = (SU if phi3 else {}) | {"rope_parameters": None}
    inside = LISTS if phi3 else LISTS | {"original_max_position_embeddings": 16}
    if phi3:
        save_checkpoint(folder, "phi3", pad_token_id=0)
    specs = []
    for name in ("su", "longrope"):
        change(folder, values=values | {"rope_scaling": inside | {key: name}})
        specs.append(rope_spec(source(folder).config()))
        assert rope_spec(source(folder).load(None).config) == specs[0]
        assert source(folder).tokens().vocab_size
    assert specs[0] == specs[1]
    assert specs[0].pretrain_length == 64
    assert specs[0].feature_scale > 1


@pytest.mark.parametrize("kind", ["mrope", "foo", "ntk", "proportional"])
def test_a_scaling_that_is_not_supported_is_refused_with_those_that_are(folder, kind):
    change(folder, rope_scaling={"type": kind, "factor": 2.0})
    with pytest.raises(ValueError, match=rf"rope_type='{kind}', is not supported\. Supported: none, linear"):
        rope_spec(source(folder).config())
