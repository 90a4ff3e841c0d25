"""What a config says must make sense, wherever it comes from: a checkpoint, the command line, or Python."""

import json
import math

import pytest
from support.lab import save_checkpoint
from support.tiny_models import TINY
from support.trainable_model import FROM_BYTES
from transformers import AutoConfig

from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import EmbeddedModel, HubModel

NAN, INF = math.nan, math.inf
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = YARN | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0] * 4}
TOP = [
    *(("rope_theta", value) for value in (-1, 0, 1, 0.5, NAN, INF, -INF, "1e4", "${oc.env:HOME}", True, [1])),
    *(("max_position_embeddings", value) for value in (-3, 0, 64.5, 64.0, NAN, "64", True, None)),
    *(("num_attention_heads", value) for value in (0, -2, 3, NAN)),
    *(("num_key_value_heads", value) for value in (0, 3)),
    *(("head_dim", value) for value in (0, -8, 7, 8.5)),
    *(("hidden_size", value) for value in (0, -16, NAN)),
    *(("partial_rotary_factor", value) for value in (0, -0.5, 2, NAN)),
    *((name, value) for name in ("vocab_size", "num_hidden_layers", "intermediate_size") for value in (0, -1)),
    *(("rms_norm_eps", value) for value in (-1.0, NAN)),
    ("bos_token_id", NAN),
    ("hidden_act", "os.system"),
]
INSIDE = [
    *((YARN, "factor", value) for value in (-4, 0, 0.5, NAN, INF, "4", True)),
    *((YARN, "original_max_position_embeddings", value) for value in (0, -1, NAN, "x", 1.5)),
    *((YARN, "attention_factor", value) for value in (-1.0, 0, NAN)),
    *((YARN, "beta_fast", value) for value in (0, 0.5, NAN)),
    *((YARN, "beta_slow", value) for value in (-1, 32)),
    *((YARN, "mscale", value) for value in (INF, -1)),
    *((LLAMA3, "low_freq_factor", value) for value in (0, -1, 4, NAN, None)),
    *((LLAMA3, "high_freq_factor", value) for value in (0, 1, INF, None)),
    *(({"rope_type": "linear"}, "factor", value) for value in (None, 0, NAN, 0.9)),
    *((LONGROPE, "short_factor", value) for value in ("abc", [], [1.0] * 3, ["a"] * 4, [1, NAN, 1, 1], [1, -1, 1, 1])),
    *((LONGROPE, "long_factor", value) for value in (None, 2.0, [1, True, 1, 1], [1, INF, 1, 1])),
    *((YARN, "rope_type", value) for value in (7, ["yarn"], {"_target_": "x"})),
    (LONGROPE, "short_mscale", 1.1),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("model"))


def read(folder, **values):
    """Return the rotary embedding of the checkpoint with a config of other values."""
    held = json.loads((folder / "config.json").read_text())
    held["rope_theta"] = held.pop("rope_parameters", held)["rope_theta"]
    try:
        (folder / "config.json").write_text(json.dumps(held | values))
        source = HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)
        return rope_spec(source.config())
    finally:
        (folder / "config.json").write_text(json.dumps(held | {"rope_parameters": {"rope_theta": held["rope_theta"]}}))


@pytest.mark.parametrize(("key", "value"), TOP)
def test_a_senseless_value_in_a_checkpoints_config_is_refused_with_its_key(folder, key, value):
    with pytest.raises(ValueError, match=key if value != 3 else "num_(attention|key_value)_heads"):
        read(folder, **{key: value})


@pytest.mark.parametrize(("scaling", "key", "value"), INSIDE)
def test_a_senseless_value_in_a_scaling_is_refused_with_its_key(folder, scaling, key, value):
    said = {"rope_type": "type of rope_scaling", "short_mscale": "short_mscale and long_mscale"}.get(key, key)
    if (key, value) == ("beta_slow", 32):
        said = "beta_fast in the model's config must be above beta_slow, got 32 and 32"
    with pytest.raises(ValueError, match=said):
        read(folder, rope_scaling=scaling | {key: value})


@pytest.mark.parametrize("lost", ["factor", "low_freq_factor", "high_freq_factor"])
def test_a_scaling_that_lacks_a_number_is_refused(folder, lost):
    scaling = {key: value for key, value in LLAMA3.items() if key != lost}
    with pytest.raises(ValueError, match=f"The scaling in the model's config is of type llama3 and lacks {lost}"):
        read(folder, rope_scaling=scaling)


@pytest.mark.parametrize("scaling", ["linear", [1], 4.0])
def test_a_scaling_that_is_no_mapping_is_refused(folder, scaling):
    with pytest.raises(ValueError, match="rope_scaling in the model's config must be a mapping"):
        read(folder, rope_scaling=scaling)


@pytest.mark.parametrize("scaling", [None, {}, YARN, LLAMA3, LONGROPE, YARN | {"factor": None}, {"type": "default"}])
def test_what_makes_sense_is_read(folder, scaling):
    assert read(folder, rope_scaling=scaling, head_dim=None).base == 10_000


@pytest.mark.parametrize(
    ("values", "key"),
    [({"max_position_embeddings": 0}, "max_position_embeddings"), ({"num_key_value_heads": 3}, "num_key_value_heads")],
)
def test_the_architecture_of_the_command_line_is_checked_alike(values, key):
    with pytest.raises(ValueError, match=f"{key} in the model's config must"):
        EmbeddedModel(architecture={"model_type": "llama"} | TINY | values, **FROM_BYTES).config()


@pytest.mark.parametrize("value", [-1, NAN, None, "x"])
def test_a_config_made_in_python_is_checked_when_a_method_is_attached(value):
    config = AutoConfig.for_model("llama", **TINY)
    config.rope_parameters["rope_theta"] = value
    with pytest.raises(ValueError, match="rope_theta"):
        rope_spec(config)
